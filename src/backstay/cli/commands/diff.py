"""`backstay repo diff`: what changed from one restore point to another."""

from collections import Counter
from pathlib import Path

import click

from backstay.cli import options
from backstay.cli.output import Output, path_fields


@click.command("diff")
@options.location
@click.argument("before", metavar="POINT")
@click.argument("after", metavar="POINT")
@options.backup_set
@options.passphrase_file
@options.as_json
def command(
    location: str,
    before: str,
    after: str,
    backup_set: str | None,
    passphrase_file: Path | None,
    as_json: bool,
) -> int:
    """Name every file that is other in the second POINT than in the first."""
    from backstay.cli.opening import open_repository
    from backstay.cli.text import shown
    from backstay.repository.compare import compare_points
    from backstay.repository.manifest import choose_point

    output = Output(as_json=as_json)
    repository = open_repository(location, output, passphrase_file=passphrase_file)
    points = repository.points()
    one, other = (choose_point(points, wanted, backup_set=backup_set) for wanted in (before, after))
    counts: Counter[str] = Counter()
    for difference in compare_points(one, other, repository.reader().read):
        counts[difference.change.value] += 1
        output.event("difference", {"change": difference.change.value, **path_fields(difference.path)})
        output.line(f"{difference.change.value:<10}  {shown(difference.path)}")
    output.event("result", {"counts": counts})
    summary = ", ".join(f"{number:,} {change}" for change, number in counts.items())
    output.line(summary or "nothing differs")
    return 0
