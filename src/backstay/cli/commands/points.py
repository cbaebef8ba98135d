"""`backstay repo points`: lists the restore points."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from backstay.cli import options
from backstay.cli.output import Output

if TYPE_CHECKING:
    from backstay.repository.manifest import RestorePoint

_GRADES = ("snapshot", "stable", "changed", "unreadable")


@click.command("points")
@options.location
@options.backup_set
@options.passphrase_file
@options.credential
@options.as_json
def command(
    location: str,
    backup_set: str | None,
    passphrase_file: Path | None,
    credential: Path | None,
    as_json: bool,
) -> int:
    """List the restore points, oldest first."""
    from backstay.cli.opening import open_repository
    from backstay.cli.text import counted, local_time, shown, size, table
    from backstay.repository.manifest import is_of_set

    output = Output(as_json=as_json)
    repository = open_repository(location, output, passphrase_file=passphrase_file, credential=credential)
    found = [point for point in repository.points() if backup_set is None or is_of_set(point, backup_set)]
    for point in found:
        output.event("point", point_fields(point))
    rows = [
        (
            point.short_id,
            local_time(point.manifest.time_ns),
            shown(f"{point.manifest.file_server}/{point.manifest.backup_set}"),
            point.manifest.type,
            f"{point.manifest.totals.files:,}",
            size(point.manifest.totals.bytes),
            size(point.manifest.stored_bytes),
            _warnings(point),
        )
        for point in found
    ]
    header = ("POINT", "TIME", "SET", "TYPE", "FILES", "SIZE", "NEW", "WARNINGS")
    output.line(table(header, rows, right=(4, 5, 6)) if rows else "no restore points yet")
    for damage in repository.damaged:
        output.note(f"warning: {damage.what}")
        output.event("damaged", {"object": damage.name, "why": damage.why})
    if repository.damaged:
        output.note(f"{counted(len(repository.damaged), 'object is', 'objects are')} damaged")
    return 3 if repository.damaged else 0


def point_fields(point: "RestorePoint") -> dict[str, Any]:
    """A restore point for JSON."""
    manifest = point.manifest
    return {
        "id": point.id.hex(),
        "time_ns": manifest.time_ns,
        "file_server": manifest.file_server,
        "set": manifest.backup_set,
        "sequence": manifest.sequence,
        "type": manifest.type,
        "totals": manifest.totals._asdict(),
        "grades": {grade: getattr(manifest.totals, grade) for grade in _GRADES},
        "problems": manifest.problems,
        "read_bytes": manifest.read_bytes,
        "new_bytes": manifest.new_bytes,
        "stored_bytes": manifest.stored_bytes,
        "software": manifest.software,
    }


def _warnings(point: "RestorePoint") -> str:
    manifest = point.manifest
    parts = [f"{count:,} {grade}" for grade in _GRADES[2:] if (count := getattr(manifest.totals, grade))]
    if not parts and manifest.problems:
        parts = [f"{manifest.problems:,} incomplete"]
    return ", ".join(parts)
