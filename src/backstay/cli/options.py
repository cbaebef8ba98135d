"""Arguments and options that several commands share."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

_Command = TypeVar("_Command", bound=Callable[..., Any])

FILE = click.Path(path_type=Path)

location = click.argument("location", metavar="REPO")
point = click.argument("point", metavar="POINT")
passphrase_file = click.option(
    "--passphrase-file",
    type=FILE,
    metavar="FILE",
    help="Read the passphrase from FILE instead of BACKSTAY_PASSPHRASE or a prompt.",
)
credential = click.option(
    "--credential",
    type=FILE,
    metavar="FILE",
    help="Open with a write-only credential instead of a passphrase.",
)
as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line, for programs.")
verbose = click.option("--verbose", "-v", is_flag=True, help="List every problem, not only the first ones.")
backup_set = click.option(
    "--set", "backup_set", metavar="NAME", help="Only restore points of this backup set."
)


def log_level(default: str) -> Callable[[_Command], _Command]:
    """The option of commands that run for long."""
    return click.option(
        "--log-level",
        type=click.Choice(["debug", "info", "warning", "error"]),
        default=default,
        show_default=True,
        envvar="BACKSTAY_LOG_LEVEL",
        help="How much is logged, on standard error.",
    )


def point_path(path: str) -> bytes:
    """A path inside a restore point as a user writes it: absolute, or relative to the working folder."""
    from backstay.system import host

    return host.point_path(path)
