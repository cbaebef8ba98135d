"""`backstay channels`: where alerts are sent."""

import json
from pathlib import Path
from typing import Any

import click

from backstay.cli import options
from backstay.cli.output import Output
from backstay.cli.server_group import ServerGroup

_name = click.argument("name", metavar="NAME")
_severity = click.Choice(["info", "warning", "critical"])


@click.group("channels", cls=ServerGroup)
def command() -> None:
    """Channels: where alerts are sent."""


@command.command("list")
@options.as_json
def list_channels(as_json: bool) -> int:
    """List the channels. Ends with 3 where one does not take messages."""
    from backstay.cli.server_client import connect
    from backstay.cli.server_text import moment
    from backstay.cli.text import shown, table

    output = Output(as_json=as_json)
    with connect() as client:
        found = client.get("/notification-channels")
    for one in found:
        output.event("channel", one)
    rows = [
        (
            shown(one["name"]),
            one["kind"],
            one["least_severity"],
            "yes" if one["enabled"] else "no",
            moment(one["last_sent_at"]),
            shown(one["last_error"]),
        )
        for one in found
    ]
    header = ("CHANNEL", "KIND", "FROM", "ON", "LAST SENT", "ERROR")
    output.line(table(header, rows) if rows else "no channels: alerts are sent to nobody")
    return 3 if any(one["enabled"] and one["last_error"] for one in found) else 0


@command.command("create")
@_name
@click.option(
    "--kind", type=click.Choice(["email", "webhook", "apprise"]), required=True, help="How it sends."
)
@click.option(
    "--target",
    type=options.FILE,
    metavar="FILE",
    required=True,
    help="JSON with where it sends, and its secrets; see docs/operations.md.",
)
@click.option("--severity", type=_severity, default="warning", help="Only alerts as bad as this [warning].")
@options.as_json
def create(name: str, kind: str, target: Path, severity: str, as_json: bool) -> int:
    """Make a channel called NAME; then send a test through it."""
    from backstay.cli.server_client import connect
    from backstay.cli.text import shown

    output = Output(as_json=as_json)
    new = {"name": name, "kind": kind, "target": _read(target), "least_severity": severity}
    with connect() as client:
        made = client.post("/notification-channels", new)
    output.event("result", made)
    output.line(f"made; try it: backstay channels test {shown(name)}")
    return 0


@command.command("change")
@_name
@click.option("--target", type=options.FILE, metavar="FILE", help="Another; secrets that it leaves out stay.")
@click.option("--severity", type=_severity, help="Only alerts as bad as this.")
@click.option("--enable/--disable", "enabled", default=None, help="Send through it, or not.")
@options.as_json
def change(name: str, target: Path | None, severity: str | None, enabled: bool | None, as_json: bool) -> int:
    """Change the channel NAME."""
    from backstay.cli.server_client import connect

    output = Output(as_json=as_json)
    wanted = {
        "target": _read(target) if target is not None else None,
        "least_severity": severity,
        "enabled": enabled,
    }
    with connect() as client:
        number = _find(client, name)
        changed = client.patch(
            f"/notification-channels/{number}",
            {field: value for field, value in wanted.items() if value is not None},
        )
    output.event("result", changed)
    output.line("changed")
    return 0


@command.command("test")
@_name
@options.as_json
def test(name: str, as_json: bool) -> int:
    """Send a test through the channel NAME now."""
    from backstay.cli.server_client import connect

    output = Output(as_json=as_json)
    with connect() as client:
        tried = client.post(f"/notification-channels/{_find(client, name)}/test")
    output.event("result", tried)
    output.line("the test was taken; see that it arrived")
    return 0


@command.command("remove")
@_name
@options.as_json
def remove(name: str, as_json: bool) -> int:
    """Remove the channel NAME, and what was still to be sent through it."""
    from backstay.cli.server_client import connect

    output = Output(as_json=as_json)
    with connect() as client:
        client.delete(f"/notification-channels/{_find(client, name)}")
    output.event("result", {"name": name})
    output.line("removed")
    return 0


def _find(client: Any, name: str) -> int:
    from backstay.domain.errors import NotFound

    for one in client.get("/notification-channels"):
        if one["name"] == name:
            return int(one["id"])
    raise NotFound(f"there is no channel {name}", hint="`backstay channels list` shows those there are")


def _read(path: Path) -> dict[str, Any]:
    from backstay.domain.errors import UsageError

    try:
        document = json.loads(path.read_text())
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise UsageError(f"{path} is no JSON object", hint='write for example {"url": "https://…"}')
    return document
