"""`backstay restore-points`: what can be restored."""

from typing import Any

import click

from backstay.cli import options
from backstay.cli.output import Output
from backstay.cli.server_group import ServerGroup

_REASON = click.option("--reason", metavar="TEXT", required=True, help="Why; it stands in the audit log.")


@click.group("restore-points", cls=ServerGroup)
def command() -> None:
    """Restore points: what can be restored."""


@command.command("list")
@click.option("--set", "backup_set", metavar="SET", help="Only those of this backup set.")
@click.option("--file-server", metavar="NAME", help="Only those of this file server.")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, help="How many at most [50].")
@options.as_json
def list_points(backup_set: str | None, file_server: str | None, limit: int, as_json: bool) -> int:
    """List restore points, the newest first."""
    from backstay.cli.server_client import connect
    from backstay.cli.server_names import find_file_server, find_set
    from backstay.cli.server_text import moment
    from backstay.cli.text import shown, size, table

    output = Output(as_json=as_json)
    query: dict[str, Any] = {"limit": limit}
    with connect() as client:
        if backup_set is not None:
            query["backup_set_id"] = find_set(client, backup_set)["id"]
        if file_server is not None:
            query["file_server_id"] = find_file_server(client, file_server)["id"]
        found = client.get("/restore-points", query)["items"]
    for point in found:
        output.event("point", point)
    rows = [
        (
            point["id"][:10],
            moment(point["committed_at"]),
            shown(f"{point['file_server']['name']}/{point['backup_set']['name']}"),
            point["type"],
            f"{point['files']:,}",
            size(point["bytes"]),
            size(point["stored_bytes"]),
            _remarks(point),
        )
        for point in found
    ]
    header = ("POINT", "TIME", "SET", "TYPE", "FILES", "SIZE", "NEW", "REMARKS")
    output.line(table(header, rows, right=(4, 5, 6)) if rows else "no restore points yet")
    return 0


@command.command("show")
@click.argument("point", metavar="POINT")
@options.as_json
def show(point: str, as_json: bool) -> int:
    """Show a restore point; POINT is its id, or the first digits of it."""
    from backstay.cli.server_client import connect
    from backstay.cli.server_text import moment
    from backstay.cli.text import counted, shown, size

    output = Output(as_json=as_json)
    with connect() as client:
        found = client.get(f"/restore-points/{_digits(point)}")
    output.event("point", found)
    output.line(f"restore point {found['id']}")
    name = f"{found['file_server']['name']}/{found['backup_set']['name']}"
    output.line(shown(f"  {name}, {moment(found['committed_at'])}, {found['type']}"))
    output.line(f"  {counted(found['files'], 'file')}, {size(found['bytes'])}")
    output.line(f"  {size(found['new_bytes'])} new, stored as {size(found['stored_bytes'])}")
    if remarks := _remarks(found):
        output.line(shown(f"  {remarks}"))
    return 0


@command.command("hold")
@click.argument("point", metavar="POINT")
@_REASON
@options.as_json
def hold(point: str, reason: str, as_json: bool) -> int:
    """Put a restore point under legal hold: nothing takes it out until that is released."""
    return _change("PUT", point, "hold", reason, "is held", as_json)


@command.command("release")
@click.argument("point", metavar="POINT")
@_REASON
@options.as_json
def release(point: str, reason: str, as_json: bool) -> int:
    """End a legal hold."""
    return _change("POST", point, "release", reason, "is held no more", as_json)


@command.command("delete")
@click.argument("point", metavar="POINT")
@_REASON
@options.as_json
def delete(point: str, reason: str, as_json: bool) -> int:
    """Have the next prune take a restore point out, whatever retention says."""
    return _change("POST", point, "delete", reason, "goes with the next prune", as_json)


def _change(method: str, point: str, what: str, reason: str, done: str, as_json: bool) -> int:
    from backstay.cli.server_client import connect

    output = Output(as_json=as_json)
    with connect() as client:
        found = client.get(f"/restore-points/{_digits(point)}")["id"]
        path, body = f"/restore-points/{found}/{what}", {"reason": reason}
        answer = client.put(path, body) if method == "PUT" else client.post(path, body)
    output.event("result", {"id": found, **answer})
    output.line(f"restore point {found[:10]} {done}")
    return 0


def _digits(point: str) -> str:
    from backstay.domain.errors import UsageError

    if not 4 <= len(point) <= 64 or not set(point.lower()) <= set("0123456789abcdef"):
        raise UsageError(f"{point} is no restore point", hint="give the first digits of its id, four or more")
    return point.lower()


def _remarks(point: dict[str, Any]) -> str:
    parts = []
    if point["problems"]:
        parts.append(f"{point['problems']:,} with problems")
    if point["damaged"]:
        parts.append("damaged")
    if point["held_by"]:
        parts.append(f"held by {point['held_by']}")
    return ", ".join(parts)
