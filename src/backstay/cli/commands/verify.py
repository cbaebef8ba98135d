"""`backstay repo verify`: finds damage, and names what it touches."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from backstay.cli import options
from backstay.cli.output import Output, path_fields

if TYPE_CHECKING:
    from backstay.repository.verify import VerifyOutcome

_SHOWN = 20


@click.command("verify")
@options.location
@click.option(
    "--data",
    "percent",
    is_flag=False,
    flag_value=100.0,
    type=click.FloatRange(0, 100),
    default=0.0,
    metavar="[PERCENT]",
    help="Also read the stored content: all of it, or so many percent, chosen anew each time.",
)
@options.passphrase_file
@options.credential
@options.verbose
@options.as_json
def command(
    location: str,
    percent: float,
    passphrase_file: Path | None,
    credential: Path | None,
    verbose: bool,
    as_json: bool,
) -> int:
    """Look for damage, and name the restore points and files that it touches.

    Ends with 1 where anything is damaged. A later backup stores anew what it can still read.
    """
    from backstay.cli.meter import Meter
    from backstay.cli.opening import open_repository
    from backstay.repository.verify import run_verify

    output = Output(as_json=as_json, verbose=verbose)
    repository = open_repository(location, output, passphrase_file=passphrase_file, credential=credential)
    with Meter("reading", output) as meter:
        outcome = run_verify(repository, data_percent=percent, progress=meter)
    _tell(outcome, output)
    return 0 if outcome.intact else 1


def _tell(outcome: "VerifyOutcome", output: Output) -> None:
    from backstay.cli.text import counted, local_time, shown, size

    limit = None if output.verbose or output.as_json else _SHOWN
    for damage in outcome.damages[:limit]:
        output.event("damage", {"object": damage.name, "why": damage.why})
        output.line(f"damaged: {shown(damage.name)}: {shown(damage.why)}")
    for point in outcome.points[:limit]:
        output.event("touched_point", {"id": point.id.hex(), "time_ns": point.manifest.time_ns})
        output.line(f"touches restore point {point.short_id} of {local_time(point.manifest.time_ns)}")
    for file in outcome.files[:limit]:
        fields = {"point": file.point.id.hex(), "folder": file.is_folder}
        output.event("touched_file", {**fields, **path_fields(file.path)})
        below = " and everything below it" if file.is_folder else ""
        output.line(f"touches in {file.point.short_id}: {shown(file.path)}{below}")
    left_out = [
        counted(len(all_) - limit, f"more {noun}")
        for all_, noun in (
            (outcome.damages, "object"),
            (outcome.points, "restore point"),
            (outcome.files, "file"),
        )
        if limit is not None and len(all_) > limit
    ]
    if left_out or outcome.more_files:
        output.line(f"… and {', '.join(left_out) or 'more files'}; --verbose lists them")
    for note in outcome.notes:
        output.line(shown(note))
    fields = {
        "intact": outcome.intact,
        "damages": len(outcome.damages),
        "points": len(outcome.points),
        "packs": outcome.packs,
        "pack_bytes": outcome.pack_bytes,
        "blobs": outcome.blobs,
        "condemned_packs": outcome.condemned_packs,
        "notes": outcome.notes,
    }
    output.event("result", fields)
    read = f", {counted(outcome.packs, 'pack')} ({size(outcome.pack_bytes)}) read" if outcome.packs else ""
    found = "nothing is damaged" if outcome.intact else counted(len(outcome.damages), "damaged object")
    output.line(f"{found}: {counted(outcome.blobs, 'blob')} looked up{read}")
