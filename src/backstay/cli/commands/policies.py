"""`backstay policies`: when to back up, what to keep, and the rest that many sets share."""

from typing import Any

import click

from backstay.cli import options
from backstay.cli.output import Output
from backstay.cli.policy_options import policy_options
from backstay.cli.server_group import ServerGroup

_name = click.argument("name", metavar="POLICY")
_comment = click.option("--comment", metavar="TEXT", help="A remark for people.")


@click.group("policies", cls=ServerGroup)
def command() -> None:
    """Policies: when to back up, what to keep, and the rest that many sets share."""


@command.command("list")
@options.as_json
def list_policies(as_json: bool) -> int:
    """List the policies."""
    from backstay.cli.policy_options import described
    from backstay.cli.server_client import connect
    from backstay.cli.text import shown, table

    output = Output(as_json=as_json)
    rows = []
    with connect() as client:
        for one in client.pages("/policies", {"limit": 1000}):
            output.event("policy", one)
            values = dict(described(one["values"]))
            rows.append(
                (
                    shown(one["name"]),
                    str(one["used_by"]),
                    shown(values.get("schedules", "-")),
                    shown(values.get("window", "-")),
                    shown(values.get("retention", "-")),
                )
            )
    header = ("POLICY", "SETS", "SCHEDULES", "WINDOW", "RETENTION")
    output.line(table(header, rows, right=(1,)) if rows else "no policies yet")
    return 0


@command.command("show")
@_name
@options.as_json
def show(name: str, as_json: bool) -> int:
    """Show a policy, and which sets use it."""
    from backstay.cli.server_client import connect
    from backstay.cli.server_names import find_policy

    output = Output(as_json=as_json)
    with connect() as client:
        found = client.get(f"/policies/{find_policy(client, name)['id']}")
    output.event("policy", found)
    _describe(found, output)
    return 0


@command.command("create")
@_name
@_comment
@policy_options
@options.as_json
def create(name: str, comment: str | None, as_json: bool, **given: Any) -> int:
    """Make a policy; what no option names is as it is built in."""
    from backstay.cli.policy_options import values_from
    from backstay.cli.server_client import connect

    output = Output(as_json=as_json)
    body = {"name": name, "comment": comment or "", "values": values_from(given, {}) or {}}
    with connect() as client:
        made = client.post("/policies", body)
    output.event("result", made)
    _describe(made, output)
    return 0


@command.command("change")
@_name
@click.option("--rename", metavar="NAME", help="Call it NAME from now on.")
@_comment
@policy_options
@options.as_json
def change(name: str, rename: str | None, comment: str | None, as_json: bool, **given: Any) -> int:
    """Change a policy for all sets that use it; what no option names stays as it is."""
    from backstay.cli.policy_options import values_from
    from backstay.cli.server_client import connect
    from backstay.cli.server_names import find_policy

    output = Output(as_json=as_json)
    with connect() as client:
        found = find_policy(client, name)
        body = {"name": rename, "comment": comment, "values": values_from(given, found["values"])}
        changed = client.patch(f"/policies/{found['id']}", body)
    output.event("result", changed)
    _describe(changed, output)
    return 0


@command.command("remove")
@_name
@options.as_json
def remove(name: str, as_json: bool) -> int:
    """Remove a policy that no set uses."""
    from backstay.cli.server_client import connect
    from backstay.cli.server_names import find_policy
    from backstay.cli.text import shown

    output = Output(as_json=as_json)
    with connect() as client:
        found = find_policy(client, name)
        client.delete(f"/policies/{found['id']}")
    output.event("result", {"id": found["id"], "removed": True})
    output.line(shown(f"the policy {found['name']} is removed"))
    return 0


@command.command("preview")
@_name
@click.option("--set", "backup_set", metavar="SET", help="Also say which of its restore points would stay.")
@click.option("--time-zone", metavar="ZONE", default="UTC", help="Show times in this time zone [UTC].")
@click.option("--count", type=click.IntRange(1, 100), default=10, help="How many times [10].")
@options.as_json
def preview(name: str, backup_set: str | None, time_zone: str, count: int, as_json: bool) -> int:
    """Say when a policy backs up next, and what its retention makes of a set's restore points."""
    from backstay.cli.server_client import connect
    from backstay.cli.server_names import find_policy, find_set
    from backstay.cli.server_text import moment
    from backstay.cli.text import shown, table

    output = Output(as_json=as_json)
    with connect() as client:
        values = find_policy(client, name)["values"]
        runs = client.post("/previews/runs", {"values": values, "time_zone": time_zone, "count": count})[
            "items"
        ]
        points: list[Any] = []
        if backup_set is not None and values["retention"]:
            body = {"backup_set_id": find_set(client, backup_set)["id"], "retention": values["retention"]}
            points = client.post("/previews/retention", body)["items"]
    for run in runs:
        output.event("run", run)
        output.line(run["local"])
    if not runs:
        output.line("by hand only")
    for point in points:
        output.event("point", point)
    rows = [
        (
            point["restore_point"][:10],
            moment(point["committed_at"]),
            "stays" if point["keep"] else "goes",
            shown("; ".join(point["reasons"])),
        )
        for point in points
    ]
    if rows:
        output.line(table(("POINT", "TIME", "", "WHY"), rows))
    return 0


def _describe(found: dict[str, Any], output: Output) -> None:
    from backstay.cli.policy_options import described
    from backstay.cli.text import shown

    output.line(shown(f"{found['name']}, used by {found['used_by']} sets"))
    if found["comment"]:
        output.line(f"  {shown(found['comment'])}")
    for name, text in described(found["values"]):
        output.line(shown(f"  {name.replace('_', ' ')}: {text}"))
    for use in found.get("uses", []):
        output.line(shown(f"  used by {use['file_server']}/{use['name']}"))
