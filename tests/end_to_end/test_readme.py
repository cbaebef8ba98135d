"""Every command of the README works as it is written there."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest

from backstay.cli.app import command_line

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


@pytest.mark.skipif(shutil.which("jq") is None, reason="the README's commands use jq")
def test_the_commands_run_in_order(cli):
    """The blocks of commands, as one script, in a home with a Documents folder."""
    script = "\n".join(re.findall(r"^```sh\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL))
    assert script.count("backstay repo") >= 8
    (cli.folder / ".venv").symlink_to(sys.prefix)
    (cli.folder / "Documents").mkdir()
    (cli.folder / "Documents" / "letter.txt").write_text("Dear reader")
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", f"trap 'kill $(jobs -p); wait' EXIT\n{script}"],
        cwd=cli.folder,
        env={"HOME": str(cli.folder), "PATH": "/usr/local/bin:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    through_server = cli.folder / "restored" / str(cli.folder / "Documents").lstrip("/")
    for restored in (through_server, cli.folder / "restored-alone" / "Documents"):
        assert (restored / "letter.txt").read_text() == "Dear reader"


def test_every_command_in_the_table_is_one():
    """What is written in tables and lists as a command exists, with each option that it names."""
    named = re.findall(r"`(backstay [a-z][^`]*)`", README)
    assert len(named) >= 8
    for text in named:
        command, words = command_line(), text.split()[1:]
        while words and isinstance(command, click.Group) and re.fullmatch(r"[a-z][a-z-]*", words[0]):
            found = command.get_command(click.Context(command), words.pop(0))
            assert found is not None, text
            command = found
        options = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= options, text


def test_the_first_commands_are_make_demo_and_make_test():
    """They come first, alone, and make knows both; the demo itself has its own test."""
    first = re.search(r"(?:^    .*\n)+", README, flags=re.MULTILINE)
    assert first is not None
    assert first[0].split("\n")[:-1] == ["    make demo", "    make test"]
    for target in ("demo", "test"):
        planned = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True, check=True)
        assert ("backstay demo" if target == "demo" else "pytest") in planned.stdout


def test_every_link_leads_somewhere():
    """Files that the README links to or shows are there."""
    for target in re.findall(r"\]\(([^)]+)\)", README):
        assert target.startswith("https://") or (ROOT / target).exists(), target
