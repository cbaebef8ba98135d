"""`backstay login`: which server the commands talk to, and as whom."""

import os
import socket
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import click

from backstay.cli import options
from backstay.cli.output import Output
from backstay.cli.text import shown
from backstay.domain.errors import BackstayError, ServerUnreachable, UsageError

if TYPE_CHECKING:
    from backstay.cli.server_client import ServerClient

TOKEN_VARIABLE = "BACKSTAY_TOKEN"
PASSWORD_VARIABLE = "BACKSTAY_PASSWORD"
NEW_PASSWORD_VARIABLE = "BACKSTAY_NEW_PASSWORD"
_LOGIN_SECONDS = 30 * 86400
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


@click.command("login")
@click.argument("url", metavar="URL")
@click.option("--name", metavar="NAME", help="The administrator's name; else it is asked for.")
@click.option(
    "--password-file",
    type=options.FILE,
    metavar="FILE",
    help="Read the password from FILE instead of BACKSTAY_PASSWORD or a prompt.",
)
@click.option(
    "--token", "with_token", is_flag=True, help="Use an API token, from BACKSTAY_TOKEN or asked for."
)
@click.option(
    "--fingerprint", metavar="SHA256", help="Accept only the certificate with this SHA-256 fingerprint."
)
@click.option(
    "--plain-http", is_flag=True, help="Send the password unencrypted to another machine, if URL says http."
)
@options.as_json
def command(
    url: str,
    name: str | None,
    password_file: Path | None,
    with_token: bool,
    fingerprint: str | None,
    plain_http: bool,
    as_json: bool,
) -> int:
    """Let the commands that need a server use the one at URL.

    A server that made its own certificate is accepted once you have compared its fingerprint with the one
    that is shown where it runs; afterwards only that certificate is.
    """
    from backstay.cli import kept_login
    from backstay.cli.kept_login import Login
    from backstay.cli.server_client import ServerClient, server_url

    output = Output(as_json=as_json)
    address = server_url(url)
    _refuse_plain(address, fingerprint, plain_http)
    certificate = _known_by(address, fingerprint, output)
    with_token = with_token or (name is None and bool(os.environ.get(TOKEN_VARIABLE)))
    if with_token:
        token = os.environ.get(TOKEN_VARIABLE) or _ask("API token: ", f"set {TOKEN_VARIABLE}")
        token = token.strip()
    else:
        with ServerClient(address, certificate=certificate) as client:
            token = _token_for_person(client, name, password_file, output)
    with ServerClient(address, token=token, certificate=certificate) as client:
        who = client.get("/session")
    _end_the_one_before()
    file = kept_login.keep(Login(address, token, certificate, made_here=not with_token))
    output.event("result", {"url": address, "name": who["name"], "permissions": who["permissions"]})
    output.line(shown(f"logged in to {address} as {who['name']}; kept in {file}"))
    return 0


def _end_the_one_before() -> None:
    """A token that was made for the login that is replaced is of no use to anybody any more."""
    from backstay.cli import kept_login
    from backstay.cli.server_client import ServerClient

    with suppress(BackstayError):  # there is none, or its server is gone: it expires by itself
        before = kept_login.kept()
        if before.made_here:
            with ServerClient.of(before) as client:
                client.delete("/session")


def _refuse_plain(url: str, fingerprint: str | None, allowed: bool) -> None:
    parts = urlsplit(url)
    if parts.scheme == "https":
        return
    if fingerprint is not None:
        raise UsageError(f"{url} has no certificate to compare", hint="write https://")
    if parts.hostname not in _LOOPBACK and not allowed:
        raise UsageError(
            f"{url} is not encrypted: whoever listens would learn the password",
            hint="write https://, or give --plain-http if the network between is safe",
        )


def _known_by(url: str, fingerprint: str | None, output: Output) -> str:
    """The certificate to insist upon; empty where an authority that this machine trusts signed it."""
    from backstay.cli.server_client import ServerClient
    from backstay.protocol.certificate import fingerprint_of, pinned_certificate, shown_certificate

    if fingerprint is not None:
        return pinned_certificate(url, fingerprint)
    if not url.startswith("https:"):
        return ""
    with ServerClient(url) as client:
        try:
            client.probe()
            return ""
        except ServerUnreachable as error:
            if "not trusted" not in error.what:
                raise
    certificate = shown_certificate(url)
    seen = fingerprint_of(certificate)
    if not sys.stdin.isatty():
        raise UsageError(
            f"no authority that this machine trusts has signed the certificate of {url}",
            hint=f"if the server's own machine shows the same fingerprint, give --fingerprint {seen}",
        )
    output.note(f"no authority that this machine trusts has signed the certificate of {url}")
    output.note(f"its SHA-256 fingerprint is {seen}")
    output.note("compare it with the one that is shown where the server runs (`backstay server fingerprint`)")
    if not click.confirm("is it the same?", err=True):
        raise UsageError("the server is not trusted", hint="nothing was sent to it, and nothing is kept")
    return certificate


def _token_for_person(
    client: "ServerClient", name: str | None, password_file: Path | None, output: Output
) -> str:
    """Sign in with name and password, and make a token for this machine; the password is not kept."""
    from backstay.cli.passphrase import choose_passphrase, read_password

    name = name or _ask("name: ", "give --name", hidden=False)
    password = read_password(password_file, PASSWORD_VARIABLE, output)
    if password is None:
        password = _ask("password: ", f"set {PASSWORD_VARIABLE}, or give --password-file FILE")
    session = client.sign_in(name, password)
    if session["must_change_password"]:
        output.note(f"{name} has to choose a new password first")
        chosen = choose_passphrase(None, output, variable=NEW_PASSWORD_VARIABLE, what="password")
        client.put("/session/password", {"password": password, "new_password": chosen})
        session = client.get("/session")
    made = client.post(
        "/tokens",
        {
            "name": f"command line on {socket.gethostname()}"[:64],
            "scopes": session["permissions"],
            "valid_seconds": _LOGIN_SECONDS,
        },
    )
    client.delete("/session")
    token: str = made["token"]
    return token


def _ask(question: str, hint: str, *, hidden: bool = True) -> str:
    if not sys.stdin.isatty():
        raise UsageError(
            f"the {question.rstrip(': ')} is missing", hint=f"{hint}, or run it on a terminal to be asked"
        )
    answer: str = click.prompt(question.rstrip(": "), hide_input=hidden, err=True)
    return answer
