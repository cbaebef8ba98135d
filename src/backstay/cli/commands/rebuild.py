"""`backstay repo rebuild`: index and catalogue from packs alone."""

from pathlib import Path

import click

from backstay.cli import options
from backstay.cli.output import Output


@click.command("rebuild")
@options.location
@options.passphrase_file
@options.as_json
def command(location: str, passphrase_file: Path | None, as_json: bool) -> int:
    """Make the index anew from the packs, and the record of each restore point that was lost.

    Ends with 3 where a pack could not be read.
    """
    from backstay.cli.opening import open_repository
    from backstay.cli.text import counted, shown
    from backstay.repository.rebuild import run_rebuild

    output = Output(as_json=as_json)
    repository = open_repository(location, output, passphrase_file=passphrase_file)
    outcome = run_rebuild(repository)
    for damage in outcome.damages:
        output.event("damage", {"object": damage.name, "why": damage.why})
        output.line(f"damaged: {shown(damage.name)}: {shown(damage.why)}")
    for point in outcome.points:
        output.event("point", {"id": point.id.hex(), "time_ns": point.manifest.time_ns})
        output.line(f"restore point {point.short_id} made anew")
    for note in outcome.notes:
        output.line(shown(note))
    fields = {"packs": outcome.packs, "blobs": outcome.blobs, "points": len(outcome.points)}
    output.event("result", {**fields, "damages": len(outcome.damages), "notes": outcome.notes})
    output.line(f"index made anew: {counted(outcome.blobs, 'blob')} in {counted(outcome.packs, 'pack')}")
    return 3 if outcome.damages else 0
