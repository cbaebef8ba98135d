"""The commands, listed one by one. A command's module is imported when it is called, not before."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

_REPO = {
    "init": "backstay.cli.commands.init",
    "backup": "backstay.cli.commands.backup",
    "points": "backstay.cli.commands.points",
}
_TOP: dict[str, str] = {}


class _Group(TyperGroup):
    """A group that knows its commands by the modules that hold them."""

    modules: Mapping[str, str]

    def list_commands(self, ctx: Any) -> list[str]:
        return [*self.modules, *super().list_commands(ctx)]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        # For an unknown name all are loaded, so that the error can suggest one that is alike.
        for name in (cmd_name,) if cmd_name in self.modules else self.modules:
            if name not in self.commands:
                self.commands[name] = _command_of(self.modules[name])
        return super().get_command(ctx, cmd_name)


class _Repo(_Group):
    modules = _REPO


class _Top(_Group):
    modules = _TOP

    def list_commands(self, ctx: Any) -> list[str]:
        return [*TyperGroup.list_commands(self, ctx), *self.modules]


def command_line() -> Any:
    """The whole command line, as a typer command."""
    repo = typer.Typer(
        cls=_Repo, help="A repository of backups, opened with its key alone; no server is needed."
    )
    repo.callback(no_args_is_help=True)(_nothing)
    top = typer.Typer(
        cls=_Top,
        help="Backup for file servers: deduplicated, encrypted, fast.",
        add_completion=False,
        rich_markup_mode=None,
    )
    top.callback(no_args_is_help=True)(_version)
    top.add_typer(repo, name="repo")
    return get_command(top)


def _command_of(module: str) -> Any:
    """The function that is called like its module, or where it has COMMANDS a group of those."""
    loaded = import_module(module)
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    several: Mapping[str, Any] | None = getattr(loaded, "COMMANDS", None)
    if several is None:
        name = module.rpartition(".")[2]
        app.command(name)(getattr(loaded, name))
        return get_command(app)
    app.callback(help=loaded.__doc__, no_args_is_help=True)(_nothing)
    for name, function in several.items():
        app.command(name)(function)
    return get_command(app)


def _print_version(wanted: bool) -> None:
    if wanted:
        import backstay

        print(f"backstay {backstay.__version__}")
        raise typer.Exit


def _version(
    version: bool = typer.Option(
        False, "--version", callback=_print_version, is_eager=True, help="Show the version."
    ),
) -> None:
    pass


def _nothing() -> None:
    pass
