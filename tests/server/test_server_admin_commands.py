"""`backstay admins`, `tokens` and `audit`, as a person uses them, against a real server."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from tests.server.conftest import token_for
from tests.server.serving import Serving

from backstay.cli import kept_login
from backstay.cli.main import main
from backstay.protocol.certificate import pinned_certificate
from backstay.server.access import Role

pytestmark = pytest.mark.usefixtures("cheap_hashes")


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Serving]:
    """A server of its own for each story."""
    server = Serving(tmp_path / "server")
    yield server
    server.close()


class Terminal:
    """Runs commands, logged in with a token, and returns what they print."""

    def __init__(self, serving: Serving, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        certificate = pinned_certificate(serving.url, serving.fingerprint)
        token = token_for(serving.control, Role.ADMINISTRATOR)
        kept_login.keep(kept_login.Login(serving.url, token, certificate))

    def __call__(self, *arguments: str, code: int = 0) -> str:
        """Standard output of a command, which must end with this code."""
        self._capsys.readouterr()
        ended = main(list(arguments))
        seen = self._capsys.readouterr()
        assert ended == code, seen.err
        return seen.out

    def json(self, *arguments: str, code: int = 0) -> list[dict[str, Any]]:
        """Its JSON lines."""
        return [json.loads(line) for line in self(*arguments, "--json", code=code).splitlines()]


@pytest.fixture
def terminal(
    serving: Serving,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Terminal:
    """A terminal of somebody who may do everything."""
    monkeypatch.setenv("BACKSTAY_CONFIG", str(tmp_path / "config"))
    for name in ("BACKSTAY_PASSWORD", "BACKSTAY_NEW_PASSWORD", "BACKSTAY_DATABASE"):
        monkeypatch.delenv(name, raising=False)
    return Terminal(serving, capsys)


def test_administrators_are_made_changed_and_shut_out(terminal: Terminal, serving: Serving) -> None:
    """Each command does what it says, and names are found whatever their capitals."""
    made = terminal.json("admins", "create", "Olga", "--role", "operator")[0]
    assert len(made["password"]) > 20
    assert "olga" in terminal("admins", "list")
    terminal("admins", "change", "OLGA", "--role", "auditor", "--display-name", "Ольга")
    listed = {one["name"]: one for one in terminal.json("admins", "list")}
    assert (listed["olga"]["role"], listed["olga"]["display_name"]) == ("auditor", "Ольга")
    again = terminal.json("admins", "password", "olga")[0]
    assert again["password"] not in {made["password"], None}
    terminal("admins", "unlock", "olga")
    terminal("admins", "sign-out", "olga")
    assert "disabled" in terminal("admins", "change", "olga", "--disable")
    assert "disabled" not in terminal("admins", "change", "olga", "--enable")
    terminal("admins", "change", "olga", code=2)
    terminal("admins", "change", "nobody", "--disable", code=1)
    terminal("admins", "create", "olga", "--role", "operator", code=1)


def test_the_only_administrator_is_rescued_on_the_servers_machine(
    terminal: Terminal, serving: Serving, tmp_path: Path
) -> None:
    """With the server's folder a lost password is replaced; in a folder without a server nothing is made."""
    terminal("admins", "create", "olga", "--role", "administrator")
    folder = str(serving.control.settings.folder)
    told = terminal.json("admins", "password", "Olga", "--folder", folder)[0]
    assert told["password"]
    terminal("admins", "password", "nobody", "--folder", folder, code=1)
    terminal("admins", "password", "olga", "--folder", str(tmp_path / "elsewhere"), code=2)
    assert not (tmp_path / "elsewhere").exists()
    assert terminal.json("audit", "list", "--action", "administrator.reset")[0]["who"] == "the server"


def test_tokens_are_made_listed_and_revoked(terminal: Terminal) -> None:
    """A token is shown once; those it made are revoked with it."""
    scopes = ("--scope", "view", "--scope", "audit")
    made = terminal.json("tokens", "create", "nagios", *scopes, "--days", "30")[0]
    assert made["token"].startswith("backstay_")
    assert terminal("tokens", "create", "other", "--scope", "view").startswith("backstay_")
    listed = {one["name"]: one for one in terminal.json("tokens", "list", "--all")}
    assert listed["nagios"]["scopes"] == ["audit", "view"]
    assert "nagios" in terminal("tokens", "list")
    terminal("tokens", "revoke", str(made["id"]))
    assert "revoked" in terminal("tokens", "list")
    terminal("tokens", "revoke", "4711", code=1)


def test_the_audit_log_is_read_exported_and_verified(terminal: Terminal, serving: Serving) -> None:
    """What was changed is listed with old and new values; tampering ends `verify` with 1, either way."""
    terminal("admins", "create", "olga", "--role", "operator")
    terminal("admins", "change", "olga", "--role", "auditor")
    listed = terminal("audit", "list", "--subject", "olga", "--since", "2020-01-01")
    assert 'role: "operator" → "auditor"' in listed
    assert terminal.json("audit", "list", "--until", "2020-01-01T00:00") == []
    exported = [json.loads(line) for line in terminal("audit", "export").splitlines()]
    assert [one["number"] for one in exported] == list(range(1, len(exported) + 1))
    folder = ("--folder", str(serving.control.settings.folder))
    head = terminal.json("audit", "verify", *folder)[0]["head"]
    assert "intact" in terminal("audit", "verify", "--head", head)
    with serving.control.database.begin() as db:
        db.execute(text("UPDATE audit SET subject = 'nobody' WHERE subject = 'olga'"))
    for where in ((), folder):
        assert "entry 1 was altered" in terminal("audit", "verify", *where, code=1)
        seen = terminal.json("audit", "verify", *where, code=1)[0]
        assert seen["intact"] is False
    terminal("audit", "verify", "--head", "nonsense", code=2)
    terminal("audit", "list", "--since", "yesterday", code=2)
