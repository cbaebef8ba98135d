"""docs/cli.md and the command line say the same."""

import re
from pathlib import Path

import click
import pytest

from backstay.cli.app import command_line

PAGE = Path(__file__).parents[3] / "docs" / "cli.md"


def _commands(group, path):
    context = click.Context(group, info_name=path)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from _commands(command, f"{path} {name}")
        if not isinstance(command, click.Group) or command.invoke_without_command:
            yield f"{path} {name}", command


COMMANDS = dict(_commands(command_line(), "backstay"))


def _sections():
    parts = re.split(r"^## (.*)$", PAGE.read_text(), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_documented(name):
    """Each command has a section, which names every option of it and no other."""
    section = _sections()[name]
    documented = set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", " ".join(re.findall(r"`[^`]*`", section))))
    options = {
        option
        for parameter in COMMANDS[name].params
        if isinstance(parameter, click.Option)
        for option in (*parameter.opts, *parameter.secondary_opts)
    }
    assert options <= documented, options - documented
    assert all(parameter.help for parameter in COMMANDS[name].params if isinstance(parameter, click.Option))


def test_no_section_is_left_over():
    """What is documented as a command is one."""
    documented = {title for title in _sections() if title.startswith("backstay ")}
    assert documented == set(COMMANDS)


def test_every_command_says_what_it_does():
    """The help of each command begins with a sentence, and takes --json wherever it prints results."""
    for name, command in COMMANDS.items():
        assert command.help
        assert command.help.split("\n")[0].rstrip().endswith(".")
        if name not in {"backstay demo", "backstay agent run"}:
            assert any("--json" in parameter.opts for parameter in command.params), name
