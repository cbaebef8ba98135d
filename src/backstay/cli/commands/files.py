"""`backstay repo files`: looks into restore points."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from backstay.cli import options
from backstay.cli.output import Output, path_fields

if TYPE_CHECKING:
    from backstay.domain.entry import Entry
    from backstay.repository.browse import Browser
    from backstay.repository.manifest import RestorePoint


@click.command("files")
@options.location
@options.point
@click.argument("path", metavar="[PATH]", required=False)
@click.option("--find", "pattern", metavar="PATTERN", help="Search: part of a name, or with * ? [ a pattern.")
@click.option(
    "--versions",
    "versions_of",
    metavar="PATH",
    help="Every version of PATH, in all restore points of the same set.",
)
@options.backup_set
@options.passphrase_file
@options.as_json
def command(
    location: str,
    point: str,
    path: str | None,
    pattern: str | None,
    versions_of: str | None,
    backup_set: str | None,
    passphrase_file: Path | None,
    as_json: bool,
) -> int:
    """List what is in POINT, or in the folder PATH of it; or search it; or show all versions of a file."""
    from backstay.cli.opening import open_repository
    from backstay.domain.errors import UsageError
    from backstay.repository.browse import Browser
    from backstay.repository.manifest import choose_point

    if versions_of is not None and (pattern is not None or path is not None):
        raise UsageError("--versions stands alone", hint="leave --find and the other PATH out")
    output = Output(as_json=as_json)
    repository = open_repository(location, output, passphrase_file=passphrase_file)
    points = repository.points()
    chosen = choose_point(points, point, backup_set=backup_set)
    browser = Browser(repository)
    if versions_of is not None:
        return _show_versions(browser, _same_set(points, chosen), options.point_path(versions_of), output)
    place = options.point_path(path) if path is not None else b"/"
    if pattern is not None:
        browser.require(chosen, place)
        for found in browser.find([chosen], pattern, place):
            _show(found.path, found.entry, output)
        return 0
    entry = browser.require(chosen, place)
    if not entry.is_directory:
        _show(place, entry, output)
    for child in browser.list_folder(entry):
        _show(place.rstrip(b"/") + b"/" + child.name, child, output)
    return 0


def _same_set(points: "list[RestorePoint]", chosen: "RestorePoint") -> "list[RestorePoint]":
    chain = (chosen.manifest.file_server, chosen.manifest.backup_set)
    return [point for point in points if (point.manifest.file_server, point.manifest.backup_set) == chain]


def _show_versions(browser: "Browser", points: "list[RestorePoint]", path: bytes, output: Output) -> int:
    from backstay.domain.errors import UsageError

    versions = browser.versions(points, path)
    if not versions:
        raise UsageError(
            f"{os.fsdecode(path)!r} is in no restore point of this set",
            hint="search for it with --find",
        )
    for version in versions:
        fields = {**_fields(path, version.entry), "points": [point.id.hex() for point in version.points]}
        output.event("version", fields)
        held_by = " ".join(point.short_id for point in version.points)
        output.line(f"{_columns(version.entry)}  {held_by}")
    return 0


def _show(path: bytes, entry: "Entry", output: Output) -> None:
    from backstay.cli.text import shown

    output.event("file", _fields(path, entry))
    target = f" -> {shown(entry.inline or b'')}" if entry.is_symlink else ""
    output.line(f"{_columns(entry)}  {shown(path)}{'/' if entry.is_directory else ''}{target}")


def _columns(entry: "Entry") -> str:
    import stat

    from backstay.cli.text import local_time, shown, size
    from backstay.domain.entry import Grade

    owner = shown(entry.user) or str(entry.uid)
    group = shown(entry.group) or str(entry.gid)
    bytes_ = entry.totals.bytes if entry.totals is not None else entry.size
    grade = Grade(entry.grade).name.lower() if entry.is_regular else ""
    owners = f"{owner}:{group}"
    return (
        f"{stat.filemode(entry.mode)}  {owners:<15}  {size(bytes_):>10}  "
        f"{local_time(entry.mtime_ns)}  {grade:<10}"
    )


def _fields(path: bytes, entry: "Entry") -> dict[str, Any]:
    import stat

    from backstay.domain.entry import Grade

    fields: dict[str, Any] = {
        **path_fields(path),
        "type": stat.filemode(entry.mode)[0],
        "mode": stat.S_IMODE(entry.mode),
        "uid": entry.uid,
        "gid": entry.gid,
        "size": entry.size,
        "mtime_ns": entry.mtime_ns,
        "grade": Grade(entry.grade).name.lower(),
    }
    if entry.totals is not None:
        fields["totals"] = entry.totals._asdict()
    if entry.is_symlink:
        fields |= path_fields(entry.inline or b"", "target")
    return fields
