"""`backstay logout`: forgets the server."""

import click

from backstay.cli import options
from backstay.cli.output import Output
from backstay.cli.text import shown
from backstay.domain.errors import BackstayError


@click.command("logout")
@options.as_json
def command(as_json: bool) -> int:
    """Forget the server, and revoke the token that `backstay login` made; one that you gave it stays.

    It is forgotten here in any case; that the server could not be told is said, and ends with 3.
    """
    from backstay.cli import kept_login
    from backstay.cli.server_client import ServerClient

    output = Output(as_json=as_json)
    login = kept_login.kept()
    problem = ""
    try:
        if login.made_here:
            with ServerClient.of(login) as client:
                client.delete("/session")
    except BackstayError as error:
        problem = error.what
    kept_login.forget()
    output.event("result", {"url": login.url, "revoked": login.made_here and not problem})
    output.line(shown(f"logged out of {login.url}"))
    if problem:
        output.note(f"warning: the token could not be revoked: {problem}")
    return 3 if problem else 0
