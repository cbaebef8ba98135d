"""`backstay tokens`: API tokens, for programs."""

import click

from backstay.cli import options
from backstay.cli.output import Output
from backstay.cli.text import shown

_SCOPES = click.Choice(["view", "run", "edit", "browse", "restore", "retain", "audit", "manage"])
_DAY = 86400


@click.group("tokens", no_args_is_help=True)
def command() -> None:
    """List, make and revoke API tokens."""


@command.command("list")
@click.option("--all", "everybody", is_flag=True, help="Those of all administrators, for who may manage.")
@options.as_json
def list_(everybody: bool, as_json: bool) -> int:
    """List one's API tokens, revoked and expired ones too."""
    from backstay.cli.moments import local
    from backstay.cli.server_client import connect
    from backstay.cli.text import table

    output = Output(as_json=as_json)
    with connect() as client:
        tokens = client.get("/tokens", {"everybody": everybody})
    for one in tokens:
        output.event("token", one)
    rows = [
        (
            str(one["id"]),
            shown(one["name"]),
            shown(one["administrator"]),
            " ".join(one["scopes"]),
            "revoked" if one["revoked_at"] else local(one["expires_at"]) or "never",
            local(one["last_used_at"]) or "never",
            shown(one["last_used_address"]),
        )
        for one in tokens
    ]
    header = ("NUMBER", "NAME", "OF", "SCOPES", "EXPIRES", "LAST USED", "FROM")
    output.line(table(header, rows, right=(0,)) if rows else "no API tokens yet")
    return 0


@command.command("create")
@click.argument("name", metavar="NAME")
@click.option("--scope", "scopes", type=_SCOPES, multiple=True, required=True, help="What it may do.")
@click.option("--days", type=click.IntRange(1, 732), metavar="N", help="How long it holds.")
@options.as_json
def create(name: str, scopes: tuple[str, ...], days: int | None, as_json: bool) -> int:
    """Make an API token called NAME, and show it this once."""
    from backstay.cli.server_client import connect

    output = Output(as_json=as_json)
    body = {
        "name": name,
        "scopes": sorted(set(scopes)),
        "valid_seconds": days * _DAY if days is not None else None,
    }
    with connect() as client:
        made = client.post("/tokens", body)
    output.event("result", made)
    output.line(made["token"])
    output.note(
        f"token {made['id']} is shown this once; revoke it with `backstay tokens revoke {made['id']}`"
    )
    return 0


@command.command("revoke")
@click.argument("number", metavar="NUMBER", type=click.IntRange(1))
@options.as_json
def revoke(number: int, as_json: bool) -> int:
    """Let the API token NUMBER, and those that it made, hold no longer."""
    from backstay.cli.server_client import connect

    output = Output(as_json=as_json)
    with connect() as client:
        client.delete(f"/tokens/{number}")
    output.event("result", {"id": number})
    output.line(f"token {number} holds no longer")
    return 0
