"""The command line and a real server over TLS: how it is trusted, and what its refusals become."""

import json
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.server.conftest import token_for
from tests.server.serving import Serving

from backstay.cli.kept_login import kept
from backstay.cli.main import main
from backstay.cli.server_client import ServerClient, server_url
from backstay.domain.errors import (
    Forbidden,
    NotFound,
    NotSignedIn,
    ServerError,
    ServerUnreachable,
    UsageError,
)
from backstay.protocol.certificate import pinned_certificate
from backstay.server.access import SYSTEM, Role
from backstay.server.administrators import create_administrator


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """One server for all tests here."""
    server = Serving(tmp_path_factory.mktemp("server"))
    yield server
    server.close()


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder for what `login` keeps."""
    monkeypatch.setenv("BACKSTAY_CONFIG", str(tmp_path / "config"))
    for name in ("BACKSTAY_TOKEN", "BACKSTAY_PASSWORD"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "config"


def _client(serving: Serving, role: Role = Role.ADMINISTRATOR) -> ServerClient:
    certificate = pinned_certificate(serving.url, serving.fingerprint)
    return ServerClient(serving.url, token=token_for(serving.control, role), certificate=certificate)


def test_login_with_a_token_pins_the_certificate(
    serving: Serving, config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the right fingerprint the token is kept for its owner alone; logout leaves a given one."""
    monkeypatch.setenv("BACKSTAY_TOKEN", token_for(serving.control, Role.AUDITOR))
    assert main(["login", serving.url, "--fingerprint", serving.fingerprint.upper(), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["permissions"] == ["audit", "view"]
    file = config / "login.json"
    login = kept()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert json.loads(file.read_text())["certificate"].startswith("-----BEGIN CERTIFICATE-----")
    assert main(["logout"]) == 0
    with ServerClient.of(login) as client:
        assert client.get("/session")["role"] == "auditor"


def test_login_with_a_password_keeps_a_token_that_logout_revokes(
    serving: Serving, config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The password becomes a token for this machine, with the role's scopes; a given password is changed."""
    with serving.control.database.begin() as db:
        made = create_administrator(db, SYSTEM, now=serving.control.clock(), name="olga", role=Role.OPERATOR)
    monkeypatch.setenv("BACKSTAY_PASSWORD", made.password)
    monkeypatch.setenv("BACKSTAY_NEW_PASSWORD", "seven-purple-elephants")
    arguments = ["login", serving.url, "--fingerprint", serving.fingerprint, "--name", "Olga"]
    assert main(arguments) == 0
    assert main(arguments) == 1
    monkeypatch.setenv("BACKSTAY_PASSWORD", "seven-purple-elephants")
    assert main(arguments) == 0
    assert "logged in" in capsys.readouterr().out
    first = kept()
    assert first.token.startswith("backstay_")
    assert main(arguments) == 0
    second = kept()
    assert main(["logout"]) == 0
    for login in (first, second):
        with ServerClient.of(login) as client, pytest.raises(NotSignedIn):
            client.get("/session")


def test_another_certificate_is_refused_before_anything_is_sent(
    serving: Serving, config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A wrong fingerprint, or none where nobody can be asked, ends the login, and nothing is kept."""
    monkeypatch.setenv("BACKSTAY_TOKEN", "secret")
    assert main(["login", serving.url, "--fingerprint", "ab" * 32]) == 1
    assert "shows another certificate" in capsys.readouterr().err
    monkeypatch.setattr("sys.stdin", open("/dev/null"))  # noqa: PTH123, SIM115
    assert main(["login", serving.url]) == 2
    assert serving.fingerprint in capsys.readouterr().err
    assert not (config / "login.json").exists()


def test_a_pinned_certificate_is_the_only_one(serving: Serving, tmp_path: Path) -> None:
    """Who pinned one server's certificate does not talk to another server."""
    other = Serving(tmp_path / "other")
    try:
        pem = pinned_certificate(other.url, other.fingerprint)
        with ServerClient(serving.url, token="x", certificate=pem) as client:
            with pytest.raises(ServerUnreachable, match="not trusted"):
                client.get("/session")
    finally:
        other.close()


def test_problem_documents_become_errors_with_hints(serving: Serving) -> None:
    """Each refusal of the server is the error that it was there, with its hint."""
    with _client(serving) as client:
        with pytest.raises(NotFound) as caught:
            client.get("/file-servers/4711")
        assert "4711" in caught.value.what
        assert caught.value.hint
        with pytest.raises(UsageError, match="limit"):
            client.get("/file-servers", {"limit": 0, "search": None})
        assert list(client.pages("/file-servers", {"limit": 1})) == []
    with _client(serving, Role.AUDITOR) as client, pytest.raises(Forbidden):
        client.post("/enrolment-tokens", {})


def test_a_token_that_does_not_hold(serving: Serving, config: Path) -> None:
    """An unknown token is said to be so; no login at all sends to `backstay login`."""
    pem = pinned_certificate(serving.url, serving.fingerprint)
    with ServerClient(serving.url, token="nonsense", certificate=pem) as client:
        with pytest.raises(NotSignedIn) as caught:
            client.get("/session")
        assert caught.value.hint
    assert main(["logout"]) == 1


def test_a_server_that_is_not_there() -> None:
    """A closed port is ServerUnreachable, which may pass; the message names the server."""
    with ServerClient("http://127.0.0.1:9") as client, pytest.raises(ServerUnreachable) as caught:
        client.get("/session")
    assert "http://127.0.0.1:9" in caught.value.what
    assert caught.value.retryable


def test_what_is_no_backstay_server(serving: Serving) -> None:
    """A path where something else answers is found out."""
    pem = pinned_certificate(serving.url, serving.fingerprint)
    with ServerClient(f"{serving.url}/elsewhere", certificate=pem) as client, pytest.raises(ServerError):
        client.get("/session")


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("backup.example", "https://backup.example:8443"),
        ("backup.example:444", "https://backup.example:444"),
        ("[::1]", "https://[::1]:8443"),
        ("[::1]:99", "https://[::1]:99"),
        ("http://localhost:8000/", "http://localhost:8000"),
        ("https://proxy.example/backstay/", "https://proxy.example/backstay"),
    ],
)
def test_addresses_as_people_write_them(text: str, url: str) -> None:
    """A bare host means https and the server's own port."""
    assert server_url(text) == url


@pytest.mark.parametrize(
    "text", ["", "ftp://x", "https://", "https://a:b@x", "https://x:99999", "https://x?q"]
)
def test_what_is_no_address(text: str) -> None:
    """Anything else is refused before it is tried."""
    with pytest.raises(UsageError):
        server_url(text)


def test_a_password_is_not_sent_in_the_clear(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Plain HTTP to another machine needs to be asked for."""
    assert main(["login", "http://backup.example"]) == 2
    assert "--plain-http" in capsys.readouterr().err
