"""`backstay admins`: who may sign in."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from backstay.cli import options
from backstay.cli.output import Output
from backstay.cli.server_database import database_options, open_database
from backstay.cli.text import shown
from backstay.domain.errors import NotFound, UsageError

if TYPE_CHECKING:
    from backstay.cli.server_client import ServerClient

_ROLES = click.Choice(["administrator", "operator", "restore_only", "auditor"])

_name = click.argument("name", metavar="NAME")
_password_file = click.option(
    "--password-file",
    type=options.FILE,
    metavar="FILE",
    help="Read the new password from FILE or BACKSTAY_NEW_PASSWORD, instead of generating one.",
)


@click.group("admins", no_args_is_help=True)
def command() -> None:
    """List, make, change and disable administrators."""


@command.command("list")
@options.as_json
def list_(as_json: bool) -> int:
    """List the administrators, disabled ones too."""
    from backstay.cli.moments import local
    from backstay.cli.server_client import connect
    from backstay.cli.text import table

    output = Output(as_json=as_json)
    with connect() as client:
        people = client.get("/administrators")
    for one in people:
        output.event("administrator", one)
    rows = [
        (shown(one["name"]), one["role"], _state(one), local(one["last_sign_in_at"]) or "never")
        for one in people
    ]
    output.line(table(("NAME", "ROLE", "STATE", "LAST SIGN-IN"), rows))
    return 0


def _state(one: dict[str, Any]) -> str:
    from backstay.cli.moments import local

    if one["disabled"]:
        return "disabled"
    if one["locked_until"]:
        return f"locked until {local(one['locked_until'])}"
    return "must change password" if one["must_change_password"] else "active"


@command.command("create")
@_name
@click.option("--role", type=_ROLES, required=True, help="What the administrator may do.")
@click.option("--display-name", metavar="TEXT", default="", help="As people know them.")
@_password_file
@options.as_json
def create(name: str, role: str, display_name: str, password_file: Path | None, as_json: bool) -> int:
    """Make an administrator called NAME, who chooses a password of their own at the first sign-in."""
    from backstay.cli.server_client import connect

    output = Output(as_json=as_json)
    body = {"name": name, "role": role, "display_name": display_name}
    with connect() as client:
        made = client.post("/administrators", body | {"password": _chosen(password_file, output)})
    return _tell_password(output, made, f"{made['name']} is {role} now")


@command.command("change")
@_name
@click.option("--role", type=_ROLES, help="Another role.")
@click.option("--display-name", metavar="TEXT", help="Another displayed name.")
@click.option(
    "--disable/--enable",
    "disabled",
    default=None,
    help="Let them sign in no longer, or again; their tokens hold no longer, or again.",
)
@options.as_json
def change(
    name: str, role: str | None, display_name: str | None, disabled: bool | None, as_json: bool
) -> int:
    """Change the administrator called NAME."""
    from backstay.cli.server_client import connect

    output = Output(as_json=as_json)
    body = {"role": role, "display_name": display_name, "disabled": disabled}
    if all(value is None for value in body.values()):
        raise UsageError("there is nothing to change", hint="give --role, --display-name or --disable")
    with connect() as client:
        changed = client.patch(_path(client, name), body)
    output.event("result", changed)
    output.line(shown(f"{changed['name']} is {changed['role']}, {_state(changed)}"))
    return 0


@command.command("password")
@click.argument("name", metavar="[NAME]", required=False)
@_password_file
@database_options
@options.as_json
def password(
    name: str | None, password_file: Path | None, folder: Path | None, database: str | None, as_json: bool
) -> int:
    """Change one's own password, or give another one to the administrator called NAME.

    Who has lost the only administrator's password gives --folder on the server's own machine.
    """
    from backstay.cli.server_client import connect

    output = Output(as_json=as_json)
    if folder is not None:
        return _rescue(name, password_file, folder, database, output)
    with connect() as client:
        if name is None:
            _change_own(client, password_file, output)
            output.event("result", {})
            output.line("the password was changed; other sessions have ended")
            return 0
        body = {"password": _chosen(password_file, output)}
        made = client.post(f"{_path(client, name)}/password", body)
    return _tell_password(output, made, f"{made['name']} has another password, and is signed out")


def _change_own(client: "ServerClient", password_file: Path | None, output: Output) -> None:
    from backstay.cli.commands.login import NEW_PASSWORD_VARIABLE, PASSWORD_VARIABLE
    from backstay.cli.passphrase import choose_passphrase, read_password

    old = read_password(None, PASSWORD_VARIABLE, output)
    if old is None:
        old = click.prompt("present password", hide_input=True, err=True)
    new = choose_passphrase(
        password_file, output, variable=NEW_PASSWORD_VARIABLE, option="--password-file", what="password"
    )
    client.put("/session/password", {"password": old, "new_password": new})


def _rescue(
    name: str | None, password_file: Path | None, folder: Path, database: str | None, output: Output
) -> int:
    """Another password straight in the database, for whoever owns the server's machine."""
    from backstay.server import administrators
    from backstay.server.access import SYSTEM
    from backstay.server.control import utc_now

    if name is None:
        raise UsageError("whose password?", hint="give the administrator's NAME")
    opened, _ = open_database(folder, database)
    try:
        with opened.begin() as db:
            person = administrators.find_administrator(db, administrators.normal_name(name))
            if person is None:
                names = ", ".join(one.name for one in administrators.list_administrators(db)) or "none"
                raise NotFound(f"there is no administrator {name}", hint=f"there are: {names}")
            made = administrators.reset_password(
                db, SYSTEM, person.id, now=utc_now(), password=_chosen(password_file, output)
            )
    finally:
        opened.close()
    told = {"id": made.id, "name": made.name, "password": made.password or None}
    return _tell_password(output, told, f"{made.name} has another password, and is signed out")


@command.command("unlock")
@_name
@options.as_json
def unlock(name: str, as_json: bool) -> int:
    """Let NAME sign in again after too many wrong passwords."""
    from backstay.cli.server_client import connect

    output = Output(as_json=as_json)
    with connect() as client:
        changed = client.post(f"{_path(client, name)}/unlock")
    output.event("result", changed)
    output.line(shown(f"{changed['name']} can sign in again"))
    return 0


@command.command("sign-out")
@_name
@options.as_json
def sign_out(name: str, as_json: bool) -> int:
    """End all sessions of the administrator called NAME; API tokens stay."""
    from backstay.cli.server_client import connect

    output = Output(as_json=as_json)
    with connect() as client:
        client.delete(f"{_path(client, name)}/sessions")
    output.event("result", {"name": name})
    output.line(shown(f"{name} is signed out everywhere"))
    return 0


def _path(client: "ServerClient", name: str) -> str:
    """Where the administrator of this name is found in the API. Raises NotFound."""
    wanted = name.strip().casefold()
    for one in client.get("/administrators"):
        if one["name"] == wanted:
            return f"/administrators/{one['id']}"
    raise NotFound(f"there is no administrator {name}", hint="`backstay admins list` lists them")


def _chosen(file: Path | None, output: Output) -> str | None:
    from backstay.cli.commands.login import NEW_PASSWORD_VARIABLE
    from backstay.cli.passphrase import read_password

    return read_password(file, NEW_PASSWORD_VARIABLE, output)


def _tell_password(output: Output, made: dict[str, Any], text: str) -> int:
    output.event("result", made)
    output.line(shown(text))
    if made["password"]:
        output.line(f"password for the next sign-in, shown this once: {made['password']}")
    return 0
