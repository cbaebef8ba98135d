"""`backstay repo keys`: who can open the repository."""

import time
from pathlib import Path

import click

from backstay.cli import options
from backstay.cli.opening import open_repository
from backstay.cli.output import Output
from backstay.cli.passphrase import NEW_VARIABLE, choose_passphrase
from backstay.cli.text import shown

_label = click.argument("label", metavar="NAME")
_new_passphrase_file = click.option(
    "--new-passphrase-file",
    type=options.FILE,
    metavar="FILE",
    help="Read the new passphrase from FILE instead of BACKSTAY_NEW_PASSPHRASE or a prompt.",
)


@click.group("keys", no_args_is_help=True)
def command() -> None:
    """List, add, change and revoke passphrases; rotate to a new recovery key."""


@command.command("list")
@options.location
@options.passphrase_file
@options.as_json
def list_(location: str, passphrase_file: Path | None, as_json: bool) -> int:
    """List the passphrases and the recovery key, each with what is wrong with it."""
    from backstay.cli.text import local_time, table
    from backstay.repository.keys import list_slots

    output = Output(as_json=as_json)
    repository = open_repository(location, output, passphrase_file=passphrase_file)
    slots = list_slots(repository.storage, repository.secrets)
    for slot in slots:
        output.event("key", slot._asdict())
    rows = [
        (
            shown(slot.label),
            "recovery key" if slot.is_recovery else "passphrase",
            local_time(slot.created * 1_000_000_000) if slot.created else "unknown",
            shown(slot.problem),
        )
        for slot in slots
    ]
    output.line(table(("NAME", "KIND", "MADE", "PROBLEM"), rows))
    return 3 if any(slot.problem for slot in slots) else 0


@command.command("add")
@options.location
@_label
@options.passphrase_file
@_new_passphrase_file
@options.as_json
def add(
    location: str, label: str, passphrase_file: Path | None, new_passphrase_file: Path | None, as_json: bool
) -> int:
    """Let one more passphrase, called NAME, open the repository."""
    from backstay.repository.keys import add_passphrase

    output = Output(as_json=as_json)
    repository = open_repository(location, output, passphrase_file=passphrase_file)
    add_passphrase(repository.storage, repository.secrets, label, _choose(new_passphrase_file, output))
    return _done(output, f"the passphrase {label!r} opens the repository now", label)


@command.command("change")
@options.location
@_label
@options.passphrase_file
@_new_passphrase_file
@options.as_json
def change(
    location: str, label: str, passphrase_file: Path | None, new_passphrase_file: Path | None, as_json: bool
) -> int:
    """Put a new passphrase in the place of the one called NAME (the first one is called main)."""
    from backstay.repository.keys import change_passphrase

    output = Output(as_json=as_json)
    repository = open_repository(location, output, passphrase_file=passphrase_file)
    change_passphrase(repository.storage, repository.secrets, label, _choose(new_passphrase_file, output))
    return _done(output, f"the passphrase {label!r} was changed; the old one opens nothing any more", label)


@command.command("revoke")
@options.location
@_label
@options.passphrase_file
@options.as_json
def revoke_(location: str, label: str, passphrase_file: Path | None, as_json: bool) -> int:
    """Let the passphrase called NAME no longer open the repository."""
    from backstay.repository.keys import revoke

    output = Output(as_json=as_json)
    repository = open_repository(location, output, passphrase_file=passphrase_file)
    revoke(repository.storage, repository.secrets, label)
    return _done(output, f"the passphrase {label!r} opens nothing any more", label)


@command.command("rotate")
@options.location
@click.option(
    "--recovery-sheet",
    type=options.FILE,
    metavar="FILE",
    help="Where to write the new recovery key sheet  [default: ./backstay-recovery-ID-TIME.txt]",
)
@options.passphrase_file
@options.as_json
def rotate(location: str, recovery_sheet: Path | None, passphrase_file: Path | None, as_json: bool) -> int:
    """Make a new recovery key and a new reading key; the old sheet opens nothing any more."""
    from backstay.cli.recovery_file import RecoveryFile
    from backstay.repository.keys import rotate_recovery_key
    from backstay.repository.recovery_sheet import render_sheet

    output = Output(as_json=as_json)
    repository = open_repository(location, output, passphrase_file=passphrase_file)
    now = time.time()
    stamp = time.strftime("%Y%m%dT%H%M%S", time.localtime(now))
    wanted = recovery_sheet or Path(f"backstay-recovery-{repository.id.hex()}-{stamp}.txt")
    with RecoveryFile(wanted) as sheet:
        sheet.refuse_inside(repository.storage.location)
        _, recovery_key = rotate_recovery_key(repository.storage, repository.secrets)
        written = sheet.write(
            repository.id, render_sheet(repository.id, repository.storage.location, now, recovery_key)
        )
    output.event("result", {"recovery_sheet": str(written)})
    output.line(f"new recovery key sheet: {shown(written)}")
    output.line("Print it, destroy the old sheet, and delete the file. Write-only credentials go on working;")
    output.line("make them anew with `backstay repo credential` if the old key may be in wrong hands.")
    return 0


@command.command("repair")
@options.location
@options.passphrase_file
@options.as_json
def repair(location: str, passphrase_file: Path | None, as_json: bool) -> int:
    """Write every key slot anew, and delete what an interrupted change of keys left."""
    from backstay.repository.keys import repair_slots

    output = Output(as_json=as_json)
    repository = open_repository(location, output, passphrase_file=passphrase_file)
    repair_slots(repository.storage, repository.secrets)
    return _done(output, "all key slots were written anew", "")


def _choose(file: Path | None, output: Output) -> str:
    return choose_passphrase(file, output, variable=NEW_VARIABLE, option="--new-passphrase-file")


def _done(output: Output, text: str, label: str) -> int:
    output.event("result", {"key": label, "done": text})
    output.line(shown(text))
    return 0
