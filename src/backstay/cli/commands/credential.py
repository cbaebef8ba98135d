"""`backstay repo credential`: a key that can back up, and can neither read nor delete."""

from pathlib import Path

import click

from backstay.cli import options
from backstay.cli.output import Output


@click.command("credential")
@options.location
@click.option(
    "--out",
    type=options.FILE,
    metavar="FILE",
    required=True,
    help="Where to write it; nothing is ever overwritten.",
)
@options.passphrase_file
@options.as_json
def command(location: str, out: Path, passphrase_file: Path | None, as_json: bool) -> int:
    """Write a credential that can back up, and can neither read nor delete what was backed up."""
    from backstay.cli.opening import open_repository
    from backstay.cli.text import shown
    from backstay.repository.keys import export_credential

    output = Output(as_json=as_json)
    repository = open_repository(location, output, passphrase_file=passphrase_file)
    _write(out, export_credential(repository.secrets, repository.storage.location))
    output.event("result", {"credential": str(out.absolute())})
    output.line(f"write-only credential: {shown(out.absolute())}")
    output.line(
        "Give it to the file server, and use it with --credential; it cannot read or delete a backup."
    )
    return 0


def _write(out: Path, content: bytes) -> None:
    """Durably, for the owner alone, over nothing."""
    from backstay.domain.errors import UsageError
    from backstay.system.calls import os

    try:
        fd = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise UsageError(
            f"the credential cannot be written to {out}: {error.strerror}", hint="choose another --out FILE"
        ) from None
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        out.unlink(missing_ok=True)
        raise
