"""`backstay audit`: who changed what, and whether the record of it is whole."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from backstay.cli import options
from backstay.cli.moments import Moment, local
from backstay.cli.output import Output
from backstay.cli.server_database import database_options, open_database
from backstay.cli.text import counted, shown, table

_LONGEST_CHANGE = 100
_PAGE = 500

_Command = TypeVar("_Command", bound=Callable[..., object])


def _filters(command: _Command) -> _Command:
    for option in (
        click.option("--until", type=Moment(), metavar="TIME", help="Only before TIME."),
        click.option("--since", type=Moment(), metavar="TIME", help="Only from TIME on."),
        click.option("--subject", metavar="TEXT", default="", help="Only where TEXT is in what was changed."),
        click.option("--action", metavar="TEXT", default="", help="Only actions that begin so: policy."),
        click.option("--who", metavar="TEXT", default="", help="Only by those whose name has TEXT in it."),
    ):
        command = option(command)
    return command


@click.group("audit", no_args_is_help=True)
def command() -> None:
    """Read, export and verify the audit log."""


@command.command("list")
@_filters
@click.option(
    "--limit", type=click.IntRange(1), default=50, show_default=True, metavar="N", help="At most N entries."
)
@options.as_json
def list_(limit: int, as_json: bool, **wanted: Any) -> int:
    """List who changed what, the newest first."""
    from itertools import islice

    from backstay.cli.server_client import connect

    output = Output(as_json=as_json)
    with connect() as client:
        query = {**wanted, "limit": min(limit, _PAGE)}
        entries = list(islice(client.pages("/audit", query), limit))
    for one in entries:
        output.event("entry", one)
    rows = [
        (
            str(one["number"]),
            local(one["at"]),
            shown(one["who"]),
            shown(one["address"]),
            one["action"],
            shown(one["subject"]),
            _change(one["before"], one["after"]),
        )
        for one in entries
    ]
    header = ("NUMBER", "TIME", "WHO", "FROM", "ACTION", "WHAT", "CHANGE")
    output.line(table(header, rows, right=(0,)) if rows else "nothing of that kind was changed")
    return 0


def _change(before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> str:
    before, after = before or {}, after or {}
    parts = []
    for name in {**before, **after}:
        values = [json.dumps(side[name], ensure_ascii=False) for side in (before, after) if name in side]
        parts.append(f"{name}: {' → '.join(values)}")
    text = shown(", ".join(parts))
    return text if len(text) <= _LONGEST_CHANGE else text[: _LONGEST_CHANGE - 1] + "…"


@command.command("export")
@_filters
@options.as_json
def export(as_json: bool, **wanted: Any) -> int:
    """Print all entries as JSON lines, the oldest first, each with its digest."""
    from backstay.cli.server_client import connect

    with connect() as client:
        for line in client.lines("/audit/export", wanted):
            print(line)
    return 0


@command.command("verify")
@click.option(
    "--head", metavar="NUMBER:DIGEST", default="", help="What an earlier check told: it must still be there."
)
@database_options
@options.as_json
def verify_(head: str, folder: Path | None, database: str | None, as_json: bool) -> int:
    """Look whether entries of the audit log were altered, removed, put in, or cut off at the end.

    A server that was tampered with cannot be asked about itself: give --folder on its machine.
    """
    output = Output(as_json=as_json)
    seen = _asked(head) if folder is None else _looked_at(folder, database, head)
    for one in seen["findings"]:
        output.line(shown(one["what"]))
    if seen["intact"]:
        output.line(f"the audit log is intact: {counted(seen['entries'], 'entry', 'entries')}")
    else:
        output.note("the audit log is not what was written: somebody has changed the database by hand")
    output.line(f"head: {seen['head']}")
    if folder is None:
        output.note("the server was asked about itself; on its own machine give --folder to look by yourself")
    output.event("result", seen)
    return 0 if seen["intact"] else 1


def _asked(head: str) -> dict[str, Any]:
    from backstay.cli.server_client import connect

    with connect() as client:
        seen: dict[str, Any] = client.get("/audit/verification", {"head": head})
        return seen


def _looked_at(folder: Path, database: str | None, head: str) -> dict[str, Any]:
    from backstay.server.audit_check import parse_head, verify

    opened, key = open_database(folder, database)
    try:
        with opened.read() as db:
            found = verify(db, key, expected=parse_head(head) if head else None)
    finally:
        opened.close()
    return {
        "intact": not found.findings,
        "entries": found.entries,
        "head": str(found.head),
        "findings": [{"number": one.number, "what": one.what} for one in found.findings],
    }
