"""`backstay file-servers`: the protected machines."""

import click

from backstay.cli import options
from backstay.cli.output import Output
from backstay.cli.server_group import ServerGroup

_name = click.argument("name", metavar="FILE-SERVER")


@click.group("file-servers", cls=ServerGroup)
def command() -> None:
    """File servers: the machines that are protected."""


@command.command("list")
@click.option("--search", metavar="TEXT", default="", help="Only those with TEXT in their names.")
@options.as_json
def list_file_servers(search: str, as_json: bool) -> int:
    """List the file servers."""
    from backstay.cli.server_client import connect
    from backstay.cli.server_text import moment
    from backstay.cli.text import shown, table

    output = Output(as_json=as_json)
    rows = []
    with connect() as client:
        for one in client.pages("/file-servers", {"search": search, "limit": 1000}):
            output.event("file_server", one)
            state = "connected" if one["connected"] else "silent" if one["enrolled"] else "not enrolled"
            system = f"{one['system']} {one['version']}"
            rows.append((shown(one["name"]), state, moment(one["last_seen_at"]), shown(system)))
    header = ("FILE SERVER", "AGENT", "LAST HEARD OF", "SYSTEM")
    output.line(table(header, rows) if rows else "no file servers yet")
    return 0


@command.command("show")
@_name
@options.as_json
def show(name: str, as_json: bool) -> int:
    """Show a file server, and which of its volumes, folders and shares nobody protects."""
    from backstay.cli.server_client import connect
    from backstay.cli.server_names import find_file_server
    from backstay.cli.server_text import moment
    from backstay.cli.text import shown, size, table

    output = Output(as_json=as_json)
    with connect() as client:
        found = find_file_server(client, name)
        report = client.get(f"/file-servers/{found['id']}/coverage")
    output.event("file_server", found | {"coverage": report})
    state = "connected" if found["connected"] else f"silent since {moment(found['last_seen_at'])}"
    output.line(shown(f"{found['name']}: {state}, {found['address']}, {found['system']} {found['version']}"))
    if abs(found["clock_offset"]) > 60:
        output.line(f"  its clock is {found['clock_offset']:+.0f} s off")
    if not report["reported"]:
        output.line("  its agent has not said yet what there is to protect")
        return 0
    rows = [
        (
            shown(one["path"]),
            size(one["used"]) if one["used"] is not None else "",
            one["coverage"].replace("_", " "),
            shown(", ".join(found_set["name"] for found_set in one["sets"])),
        )
        for kind in ("volumes", "folders", "shares")
        for one in report[kind]
    ]
    output.line(table(("PLACE", "USED", "PROTECTION", "SETS"), rows, right=(1,)))
    return 0


@command.command("revoke")
@_name
@options.as_json
def revoke(name: str, as_json: bool) -> int:
    """Let the agent's credential hold no more. Its backups stay, and it can be enrolled anew."""
    from backstay.cli.server_client import connect
    from backstay.cli.server_names import find_file_server
    from backstay.cli.text import shown

    output = Output(as_json=as_json)
    with connect() as client:
        found = client.post(f"/file-servers/{find_file_server(client, name)['id']}/revoke")
    output.event("result", found)
    output.line(shown(f"the agent of {found['name']} is locked out; its backups stay"))
    return 0


@command.command("enrolment-token")
@click.option("--valid-hours", type=click.IntRange(1, 8784), default=24, help="How long it can be used [24].")
@click.option("--most-uses", type=click.IntRange(1, 100_000), help="How many agents may use it [any].")
@click.option("--comment", metavar="TEXT", default="", help="A remark for people.")
@options.as_json
def enrolment_token(valid_hours: int, most_uses: int | None, comment: str, as_json: bool) -> int:
    """Make a token with which agents enrol, and print the command to be run on each file server."""
    from backstay.cli.server_client import connect
    from backstay.cli.server_text import moment

    output = Output(as_json=as_json)
    body = {"valid_seconds": valid_hours * 3600, "most_uses": most_uses, "comment": comment}
    with connect() as client:
        made = client.post("/enrolment-tokens", body)
    output.event("result", made)
    output.line(made["command"])
    output.note(f"valid until {moment(made['expires_at'])}; it is shown only this once")
    return 0


@command.command("enrolment-tokens")
@click.option("--all", "spent", is_flag=True, help="Those too that let nobody in any more.")
@options.as_json
def enrolment_tokens(spent: bool, as_json: bool) -> int:
    """List the tokens with which agents can enrol."""
    from backstay.cli.server_client import connect
    from backstay.cli.server_text import moment
    from backstay.cli.text import shown, table

    output = Output(as_json=as_json)
    with connect() as client:
        tokens = client.get("/enrolment-tokens", {"spent": spent})
    for one in tokens:
        output.event("enrolment_token", one)
    rows = [
        (
            str(one["id"]),
            "revoked" if one["revoked_at"] else moment(one["expires_at"]),
            f"{one['uses']} of {one['most_uses'] or 'any'}",
            shown(one["created_by"]),
            shown(one["comment"]),
        )
        for one in tokens
    ]
    header = ("NUMBER", "VALID UNTIL", "USES", "MADE BY", "COMMENT")
    output.line(table(header, rows, right=(0,)) if rows else "no enrolment token lets anybody in")
    return 0


@command.command("revoke-enrolment-token")
@click.argument("number", metavar="NUMBER", type=click.IntRange(1))
@options.as_json
def revoke_enrolment_token(number: int, as_json: bool) -> int:
    """Let nobody enrol with a token any more. Agents that have, stay."""
    from backstay.cli.server_client import connect

    output = Output(as_json=as_json)
    with connect() as client:
        client.delete(f"/enrolment-tokens/{number}")
    output.event("result", {"id": number})
    output.line(f"nobody enrols with token {number} any more")
    return 0
