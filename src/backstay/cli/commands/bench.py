"""`backstay bench`: what this machine can do at most, one part of the work at a time."""

import sys
import tempfile
from pathlib import Path

import click

from backstay.cli import options
from backstay.cli.output import Output


@click.command("bench")
@click.option(
    "--folder",
    type=options.FILE,
    default=Path(),
    metavar="DIR",
    help="Where test files are read and written, so which disk is measured  [default: .]",
)
@click.option(
    "--scan",
    "tree",
    type=options.FILE,
    metavar="DIR",
    help="The tree that is scanned  [default: this Python's]",
)
@options.as_json
def command(folder: Path, tree: Path | None, as_json: bool) -> int:
    """Measure in a few seconds how fast this machine scans, reads, hashes, compresses, encrypts, writes."""
    from backstay.cli import measurements
    from backstay.cli.text import table
    from backstay.domain.errors import UsageError

    output = Output(as_json=as_json)
    scanned = tree or Path(sys.base_prefix) / "lib"
    rows = []
    try:
        with tempfile.TemporaryDirectory(prefix="backstay-bench-", dir=folder) as work:
            for measure in measurements.all_measurements(scanned, Path(work)):
                output.event("measurement", measure.fields())
                rows.append((measure.name, measure.value_text(), measure.unit, measure.note))
    except OSError as error:
        raise UsageError(
            f"the bench cannot use {error.filename or folder}: {error.strerror}",
            hint="choose other folders with --folder and --scan",
        ) from None
    output.line(table(("WORK", "RATE", "UNIT", "HOW"), rows, right=(1,)))
    return 0
