"""Every command of the README works as it is written there."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def test_the_commands_run_in_order(cli):
    """The blocks of commands, as one script, in a home with a Documents folder."""
    script = "\n".join(re.findall(r"^```sh\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL))
    assert script.count("backstay repo") >= 10
    (cli.folder / ".venv").symlink_to(sys.prefix)
    (cli.folder / "Documents").mkdir()
    (cli.folder / "Documents" / "letter.txt").write_text("Dear reader")
    (cli.folder / "Documents" / "film.mp4").write_bytes(bytes(10_000))
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=cli.folder,
        env={"HOME": str(cli.folder), "PATH": "/usr/local/bin:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    for restored in ("restored" + str(cli.folder / "Documents"), "restored/Documents"):
        assert (cli.folder / restored / "letter.txt").read_text() == "Dear reader"


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
