"""The database of a server on this machine, opened without asking the server."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from backstay.cli import options
from backstay.domain.errors import UsageError

if TYPE_CHECKING:
    from backstay.server.database import Database
    from backstay.server.settings import ServerKey

_Command = TypeVar("_Command", bound=Callable[..., object])


def database_options(command: _Command) -> _Command:
    """`--folder` and `--database`, as `backstay server` takes them; without them the server is asked."""
    command = click.option(
        "--database",
        metavar="URL",
        envvar="BACKSTAY_DATABASE",
        help="With --folder: the database, if it is not in that folder.",
    )(command)
    return click.option(
        "--folder",
        type=options.FILE,
        metavar="DIR",
        help="Look into the database of the server whose folder is DIR, on this machine, without asking it.",
    )(command)


def open_database(folder: Path, database: str | None) -> "tuple[Database, ServerKey]":
    """The database and the key of the server that keeps itself in `folder`; neither is made.

    Raises:
        UsageError: there is none.
        ServerError: the key cannot be read.
    """
    from backstay.server.database import Database
    from backstay.server.settings import ServerKey, ServerSettings

    settings = ServerSettings(folder=folder.absolute(), database=database or "")
    needed = [settings.folder / "server.key"]
    if "://" not in settings.database_url:
        needed.append(Path(settings.database_url))
    for file in needed:
        if not file.is_file():
            raise UsageError(
                f"there is no {file.name} in {file.parent}",
                hint="give the --folder, and the --database, that the server was started with",
            )
    key = ServerKey.load(settings.folder)
    return Database(settings.database_url, key), key
