"""`backstay repo init`: makes a repository, and writes its recovery key sheet, once."""

import os
import time
from pathlib import Path

import click

from backstay.cli import options
from backstay.cli.output import Output

_HARMLESS = {"lost+found", ".aside"}
_OF_A_REPOSITORY = {"config", "keys"}


@click.command("init")
@options.location
@click.option(
    "--recovery-sheet",
    type=options.FILE,
    metavar="FILE",
    help="Where to write the recovery key sheet  [default: ./backstay-recovery-ID.txt]",
)
@options.passphrase_file
@options.as_json
def command(location: str, recovery_sheet: Path | None, passphrase_file: Path | None, as_json: bool) -> int:
    """Make a repository in an empty or new folder, and write its recovery key sheet."""
    from backstay.cli.passphrase import choose_passphrase
    from backstay.cli.recovery_file import RecoveryFile
    from backstay.repository.recovery_sheet import render_sheet
    from backstay.repository.repository import Repository
    from backstay.storage.registry import open_storage

    output = Output(as_json=as_json)
    with RecoveryFile(recovery_sheet) as sheet:
        passphrase = choose_passphrase(passphrase_file, output)
        storage = open_storage(location, create=True)
        sheet.refuse_inside(storage.location)
        _refuse_other_files(storage.location)
        repository, recovery_key = Repository.create(storage, passphrase)
        text = render_sheet(repository.id, storage.location, time.time(), recovery_key)
        written = sheet.write(repository.id, text)
    fields = {"repository": repository.id.hex(), "location": storage.location, "recovery_sheet": str(written)}
    output.event("result", fields)
    from backstay.cli.text import shown

    output.line(f"repository {repository.id.hex()} made in {shown(storage.location)}")
    output.line(f"recovery key sheet: {shown(written)}")
    output.line(
        "Print that sheet, keep it apart from the repository, and delete the file: it is the only way in\n"
        "when every passphrase is lost, and cannot be made again."
    )
    return 0


def _refuse_other_files(location: str) -> None:
    """Raises UsageError where a folder holds something else: a repository's objects would lie among it."""
    from backstay.domain.errors import UsageError

    found = {entry.name for entry in os.scandir(location)} if os.path.isdir(location) else set()
    if found - _HARMLESS and not found & _OF_A_REPOSITORY:
        raise UsageError(
            f"{location} is not empty", hint="name a folder that does not exist yet, or an empty one"
        )
