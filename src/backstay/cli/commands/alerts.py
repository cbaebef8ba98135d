"""`backstay alerts`: what needs a person."""

import click

from backstay.cli import options
from backstay.cli.output import Output
from backstay.cli.server_group import ServerGroup


@click.group("alerts", cls=ServerGroup)
def command() -> None:
    """Alerts: what needs a person."""


@command.command("list")
@click.option("--all", "everything", is_flag=True, help="Those too whose cause is gone.")
@click.option("--limit", type=click.IntRange(1, 1000), default=100, help="How many at most [100].")
@options.as_json
def list_alerts(everything: bool, limit: int, as_json: bool) -> int:
    """List active alerts, the newest first; ends with 3 where there is one."""
    from backstay.cli.server_client import connect
    from backstay.cli.server_text import moment
    from backstay.cli.text import shown, table

    output = Output(as_json=as_json)
    with connect() as client:
        found = client.get("/alerts", {"limit": limit} | ({} if everything else {"active": True}))["items"]
    for alert in found:
        output.event("alert", alert)
    rows = [
        (
            str(alert["id"]),
            moment(alert["raised_at"]),
            alert["severity"],
            shown(alert["text"]),
            "gone" if alert["resolved_at"] else shown(alert["acknowledged_by"]) or "active",
        )
        for alert in found
    ]
    header = ("ALERT", "SINCE", "SEVERITY", "WHAT", "STATE")
    output.line(table(header, rows, right=(0,)) if rows else "nothing needs anybody")
    return 3 if any(alert["resolved_at"] is None for alert in found) else 0


@command.command("acknowledge")
@click.argument("alert", metavar="ALERT", type=click.IntRange(1))
@options.as_json
def acknowledge(alert: int, as_json: bool) -> int:
    """Take an alert on: it is not sent again, and stays until its cause is gone."""
    from backstay.cli.server_client import connect
    from backstay.cli.text import shown

    output = Output(as_json=as_json)
    with connect() as client:
        found = client.post(f"/alerts/{alert}/acknowledge")
    output.event("result", found)
    output.line(shown(f"{found['acknowledged_by']} has taken on: {found['text']}"))
    return 0
