"""`backstay alerts`: what needs a person."""

from typing import Any

import click

from backstay.cli import options
from backstay.cli.output import Output
from backstay.cli.server_group import ServerGroup

_alert = click.argument("alert", metavar="ALERT", type=click.IntRange(min=1))


@click.group("alerts", cls=ServerGroup)
def command() -> None:
    """Alerts: what needs a person, active until its cause is gone."""


@command.command("list")
@click.option("--all", "all_alerts", is_flag=True, help="Those too whose cause is gone.")
@click.option(
    "--severity", type=click.Choice(["info", "warning", "critical"]), help="Only as bad as this, or worse."
)
@click.option("--file-server", metavar="NAME", help="Only of this file server.")
@click.option("--limit", type=click.IntRange(1, 1000), default=100, help="How many at most [100].")
@options.as_json
def list_alerts(
    all_alerts: bool, severity: str | None, file_server: str | None, limit: int, as_json: bool
) -> int:
    """List alerts, the newest first. Ends with 3 where one is active."""
    from backstay.cli.server_client import connect
    from backstay.cli.server_names import find_file_server
    from backstay.cli.server_text import moment
    from backstay.cli.text import shown, table

    output = Output(as_json=as_json)
    query: dict[str, Any] = {"limit": limit}
    if not all_alerts:
        query["active"] = True
    if severity is not None:
        query["severity"] = severity
    with connect() as client:
        if file_server is not None:
            query["file_server"] = find_file_server(client, file_server)["id"]
        found = client.get("/alerts", query)["items"]
    for one in found:
        output.event("alert", one)
    rows = [
        (str(one["id"]), one["severity"], moment(one["raised_at"]), _state(one), shown(one["text"]))
        for one in found
    ]
    output.line(
        table(("ALERT", "SEVERITY", "SINCE", "STATE", "WHAT"), rows, right=(0,))
        if rows
        else "nothing needs anybody"
    )
    return 3 if any(one["resolved_at"] is None for one in found) else 0


@command.command("show")
@_alert
@options.as_json
def show(alert: int, as_json: bool) -> int:
    """Show an alert, and what to do."""
    from backstay.cli.server_client import connect
    from backstay.cli.server_text import moment
    from backstay.cli.text import shown

    output = Output(as_json=as_json)
    with connect() as client:
        one = client.get(f"/alerts/{alert}")
    output.event("result", one)
    output.line(shown(f"{one['severity']}: {one['text']}"))
    if one["hint"]:
        output.line(shown(one["hint"]))
    output.line(f"since {moment(one['raised_at'])}, {_state(one)}")
    if one["job_id"]:
        output.line(f"see `backstay jobs show {one['job_id']}`")
    return 0


@command.command("acknowledge")
@_alert
@options.as_json
def acknowledge(alert: int, as_json: bool) -> int:
    """Take an alert on: it is not sent again, and stays until its cause is gone."""
    from backstay.cli.server_client import connect

    output = Output(as_json=as_json)
    with connect() as client:
        one = client.post(f"/alerts/{alert}/acknowledge")
    output.event("result", one)
    output.line(f"alert {alert} is {_state(one)}")
    return 0


def _state(alert: dict[str, Any]) -> str:
    from backstay.cli.text import shown

    if alert["resolved_at"]:
        return "resolved"
    return f"acknowledged by {shown(alert['acknowledged_by'])}" if alert["acknowledged_by"] else "active"
