"""Arguments and options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

Location = Annotated[str, typer.Argument(metavar="REPO", help="The repository: the path of its folder.")]
Point = Annotated[
    str,
    typer.Argument(
        metavar="POINT", help="A restore point: the first digits of its id (four or more), or `latest`."
    ),
]
PassphraseFile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", help="Read the passphrase from FILE instead of BACKSTAY_PASSPHRASE or a prompt."
    ),
]
Credential = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Open with a write-only credential instead of a passphrase."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object a line, for programs.")]
Verbose = Annotated[
    bool, typer.Option("--verbose", "-v", help="List every problem, not only the first ones.")
]
BackupSet = Annotated[
    str | None, typer.Option("--set", metavar="NAME", help="Only restore points of this backup set.")
]
