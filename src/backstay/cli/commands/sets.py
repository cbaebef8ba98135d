"""`backstay sets`: what is protected on each file server."""

from typing import Any

import click

from backstay.cli import options
from backstay.cli.output import Output
from backstay.cli.policy_options import policy_options
from backstay.cli.server_group import ServerGroup

_set = click.argument("backup_set", metavar="SET")
_crossing = click.option(
    "--cross-file-systems/--one-file-system",
    default=None,
    help="Whether to go on into other file systems mounted below [no].",
)


@click.group("sets", cls=ServerGroup)
def command() -> None:
    """Backup sets: what is protected on each file server, how and when."""


@command.command("list")
@click.option("--search", metavar="TEXT", default="", help="Only those with TEXT in a name.")
@click.option("--file-server", metavar="NAME", default="", help="Only those of this file server.")
@options.as_json
def list_sets(search: str, file_server: str, as_json: bool) -> int:
    """List the backup sets."""
    from backstay.cli.server_client import connect
    from backstay.cli.server_names import full_name
    from backstay.cli.server_text import moment, path_text
    from backstay.cli.text import shown, table

    output = Output(as_json=as_json)
    rows = []
    with connect() as client:
        for one in client.pages(
            "/backup-sets", {"search": search, "file_server": file_server, "limit": 1000}
        ):
            output.event("set", one)
            rows.append(
                (
                    shown(full_name(one)),
                    shown(one["policy"]["name"] if one["policy"] else "-"),
                    shown(one["content_rule"]["name"] if one["content_rule"] else "-"),
                    moment(one["next_run"]) if one["enabled"] else "switched off",
                    shown(" ".join(path_text(path) for path in one["paths"])),
                )
            )
    header = ("SET", "POLICY", "RULE", "NEXT", "PATHS")
    output.line(table(header, rows) if rows else "no backup sets yet")
    return 0


@command.command("show")
@_set
@options.as_json
def show(backup_set: str, as_json: bool) -> int:
    """Show a set, the policy that holds for it, and who set each value."""
    from backstay.cli.server_client import connect
    from backstay.cli.server_names import find_set

    output = Output(as_json=as_json)
    with connect() as client:
        found = client.get(f"/backup-sets/{find_set(client, backup_set)['id']}")
    output.event("set", found)
    _describe(found, output)
    return 0


@command.command("create")
@click.argument("backup_set", metavar="FILE-SERVER/SET")
@click.argument("paths", metavar="PATH...", nargs=-1, required=True)
@click.option("--policy", metavar="NAME", help="The policy that it follows.")
@click.option("--rule", metavar="NAME", help="The content rule: what is left out.")
@_crossing
@click.option("--disabled", is_flag=True, help="Do not back it up yet.")
@policy_options
@options.as_json
def create(
    backup_set: str,
    paths: tuple[str, ...],
    policy: str | None,
    rule: str | None,
    cross_file_systems: bool | None,
    disabled: bool,
    as_json: bool,
    **given: Any,
) -> int:
    """Make a backup set of these paths on a file server.

    The options on schedule, window and so on hold for this set alone, over its policy.
    """
    from backstay.cli.policy_options import values_from
    from backstay.cli.server_client import connect
    from backstay.cli.server_names import find_file_server, find_policy, find_rule, split_set_name
    from backstay.cli.server_text import path_given

    output = Output(as_json=as_json)
    file_server, name = split_set_name(backup_set)
    with connect() as client:
        body = {
            "file_server_id": find_file_server(client, file_server)["id"],
            "name": name,
            "paths": [path_given(path) for path in paths],
            "policy_id": find_policy(client, policy)["id"] if policy else None,
            "content_rule_id": find_rule(client, rule)["id"] if rule else None,
            "cross_mounts": bool(cross_file_systems),
            "enabled": not disabled,
            "policy_layer": values_from(given, {}) or {},
        }
        made = client.post("/backup-sets", body)
    output.event("result", made)
    _describe(made, output)
    return 0


@command.command("change")
@_set
@click.option("--path", "paths", metavar="PATH", multiple=True, help="Protect these paths instead.")
@click.option("--policy", metavar="NAME", help="The policy that it follows; an empty NAME: none.")
@click.option("--rule", metavar="NAME", help="The content rule; an empty NAME: none.")
@_crossing
@policy_options
@options.as_json
def change(
    backup_set: str,
    paths: tuple[str, ...],
    policy: str | None,
    rule: str | None,
    cross_file_systems: bool | None,
    as_json: bool,
    **given: Any,
) -> int:
    """Change a set; what no option names stays as it is."""
    from backstay.cli.policy_options import values_from
    from backstay.cli.server_client import connect
    from backstay.cli.server_names import find_policy, find_rule, find_set
    from backstay.cli.server_text import path_given

    output = Output(as_json=as_json)
    with connect() as client:
        found = find_set(client, backup_set)
        body: dict[str, Any] = {}
        if paths:
            body["paths"] = [path_given(path) for path in paths]
        if policy is not None:
            body["policy_id"] = find_policy(client, policy)["id"] if policy else None
        if rule is not None:
            body["content_rule_id"] = find_rule(client, rule)["id"] if rule else None
        if cross_file_systems is not None:
            body["cross_mounts"] = cross_file_systems
        layer = values_from(given, found["policy_layer"])
        if layer is not None:
            body["policy_layer"] = layer
        changed = client.patch(f"/backup-sets/{found['id']}", body)
    output.event("result", changed)
    _describe(changed, output)
    return 0


@command.command("enable")
@_set
@options.as_json
def enable(backup_set: str, as_json: bool) -> int:
    """Switch a set on."""
    return _switch(backup_set, "enable", as_json)


@command.command("disable")
@_set
@options.as_json
def disable(backup_set: str, as_json: bool) -> int:
    """Switch a set off: nothing starts any more, and what runs goes on."""
    return _switch(backup_set, "disable", as_json)


@command.command("remove")
@_set
@options.as_json
def remove(backup_set: str, as_json: bool) -> int:
    """Remove a set. Its open jobs are cancelled; its restore points stay."""
    from backstay.cli.server_client import connect
    from backstay.cli.server_names import find_set, full_name
    from backstay.cli.text import shown

    output = Output(as_json=as_json)
    with connect() as client:
        found = find_set(client, backup_set)
        client.delete(f"/backup-sets/{found['id']}")
    output.event("result", {"id": found["id"], "removed": True})
    output.line(shown(f"{full_name(found)} is removed; its restore points stay"))
    return 0


def _switch(backup_set: str, verb: str, as_json: bool) -> int:
    from backstay.cli.server_client import connect
    from backstay.cli.server_names import find_set

    output = Output(as_json=as_json)
    with connect() as client:
        found = client.post(f"/backup-sets/{find_set(client, backup_set)['id']}/{verb}")
    output.event("result", found)
    _describe(found, output)
    return 0


def _describe(found: dict[str, Any], output: Output) -> None:
    from backstay.cli.policy_options import described
    from backstay.cli.server_names import full_name
    from backstay.cli.server_text import moment, path_text
    from backstay.cli.text import shown

    output.line(shown(full_name(found)) + ("" if found["enabled"] else " (switched off)"))
    for path in found["paths"]:
        output.line(f"  {shown(path_text(path))}")
    rule = found["content_rule"]["name"] if found["content_rule"] else "default rules only"
    output.line(shown(f"  content rule: {rule}"))
    resolved = found["resolved_policy"]
    for name, text in described(resolved["values"]):
        origin = resolved["origins"].get(name, "")
        output.line(shown(f"  {name.replace('_', ' ')}: {text} [{origin}]"))
    output.line(f"  next: {', '.join(moment(run) for run in found['next_runs'][:3]) or 'by hand only'}")
