"""`backstay doctor` on a server and on an agent: finds what is wrong, and says how to mend it."""

import json
import os
import shutil
import socket
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.server.conftest import MovableClock
from tests.server.estate import ADMIN
from tests.server.test_server_login import Serving

from backstay.agent import doctor as agent_doctor
from backstay.agent.settings import AgentSettings
from backstay.cli.main import main
from backstay.domain.checkup import Check, Health, Verdict, examine, failed, ok, warning, worst
from backstay.domain.errors import UsageError
from backstay.protocol.certificate import pinned_certificate
from backstay.protocol.client import AgentClient, read_token
from backstay.protocol.report import EnrolRequest
from backstay.server import doctor as server_doctor
from backstay.server import fleet
from backstay.server.control import Control
from backstay.server.settings import ServerSettings
from backstay.server.tables import FileServer, JobRow
from backstay.server.tls import certificate_files

Found = dict[str, list[Verdict]]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
def settings(control: Control) -> ServerSettings:
    """A server that has been started once, with a certificate of its own, and runs no more."""
    settings = replace(control.settings, tls="self-signed", host="127.0.0.1", port=_free_port())
    certificate_files(settings)
    settings.folder.chmod(0o700)
    return settings


def _server(settings: ServerSettings) -> Found:
    found: Found = {}
    for name, verdict in examine(server_doctor.CHECKS, server_doctor.ServerSubject(settings)):
        found.setdefault(name, []).append(verdict)
    return found


def _healths(found: Found, name: str) -> set[Health]:
    return {verdict.health for verdict in found[name]}


def test_a_sound_server_is_found_sound(settings: ServerSettings) -> None:
    """Nothing fails, each check says what it saw, and the storage is as before."""
    before = sorted(path for path in Path(settings.storage_location).rglob("*") if path.is_file())
    found = _server(settings)
    bad = {name: one for name, all_ in found.items() for one in all_ if one.health is Health.FAILED}
    assert bad == {}
    assert found.keys() == {check.name for check in server_doctor.CHECKS}
    assert any("its tables are of version" in verdict.saw for verdict in found["database"])
    assert sorted(path for path in Path(settings.storage_location).rglob("*") if path.is_file()) == before


def test_each_thing_that_is_wrong_is_found_and_can_be_mended(
    settings: ServerSettings, control: Control
) -> None:
    """Modes, certificate and key, storage, port and clock: each failure is told where it is, and no other."""
    settings.folder.chmod(0o755)
    assert f"chmod 0700 {settings.folder}" in _server(settings)["folder"][0].mend
    settings.folder.chmod(0o700)

    other = replace(settings, folder=settings.folder / "other")
    other.folder.mkdir()
    certificate_files(other)
    mixed = replace(
        settings,
        tls="files",
        certificate=settings.folder / "tls.crt",
        private_key=other.folder / "tls.key",
    )
    assert "is not the key of" in _server(mixed)["certificate"][0].saw

    with socket.create_server(("127.0.0.1", settings.port)):
        assert _healths(_server(settings), "port") == {Health.FAILED}

    with control.database.begin() as db:
        db.add(
            JobRow(
                kind="prune",
                state="failed",
                trigger="schedule",
                created_at=datetime.now(UTC) + timedelta(days=1),
            )
        )
    assert "still to come" in _server(settings)["clock"][-1].saw

    moved = Path(settings.storage_location).rename(settings.folder / "moved")
    found = _server(settings)
    assert _healths(found, "storage") == {Health.FAILED}
    moved.rename(settings.storage_location)
    assert Health.FAILED not in _healths(_server(settings), "storage")

    key = settings.folder / "server.key"
    key.write_bytes(os.urandom(32))
    assert "does not open with this server's key" in _server(settings)["key"][0].saw
    key.unlink()
    assert "there is no server key" in _server(settings)["key"][0].saw
    assert not key.exists()


def test_a_server_without_its_database_is_told_so(tmp_path: Path) -> None:
    """A database that is not there is not made, one that is none is called damaged, one out of reach so."""
    settings = ServerSettings(folder=tmp_path, tls="off", host="127.0.0.1", port=_free_port())
    assert "there is no database" in _server(settings)["database"][0].saw
    assert not (tmp_path / "server.db").exists()
    (tmp_path / "server.db").write_bytes(b"no database at all" * 100)
    assert _healths(_server(settings), "database") == {Health.FAILED}
    away = replace(settings, database=f"postgresql://nobody:word@127.0.0.1:{_free_port()}/none")
    (verdict,) = _server(away)["database"]
    assert verdict.health is Health.FAILED
    assert "word" not in verdict.saw


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """A server that answers."""
    server = Serving(tmp_path_factory.mktemp("server"))
    clock = server.control.clock
    assert isinstance(clock, MovableClock)
    clock.now = datetime.now(UTC)
    yield server
    server.close()


@pytest.fixture
def agent(serving: Serving, tmp_path: Path) -> Path:
    """The folder of an agent that is enrolled with it."""
    with serving.control.database.begin() as db:
        made = fleet.create_enrolment_token(
            db, ADMIN, now=serving.control.clock(), fingerprint=serving.fingerprint
        )
    certificate = pinned_certificate(serving.url, serving.fingerprint)
    request = EnrolRequest(secret=read_token(made.token).s, name=tmp_path.name)
    reply = AgentClient.enrol(serving.url, certificate, request)
    folder = tmp_path / "agent"
    AgentSettings(serving.url, certificate, reply.file_server_id, reply.name, reply.secret).save(folder)
    return folder


def _agent(folder: Path) -> Found:
    found: Found = {}
    for name, verdict in examine(agent_doctor.CHECKS, agent_doctor.AgentSubject(folder)):
        found.setdefault(name, []).append(verdict)
    return found


def test_a_sound_agent_is_found_sound_and_not_disturbed(agent: Path, serving: Serving) -> None:
    """Server, fingerprint, credential, clock and volumes are told; the agent that runs keeps its place."""
    number = AgentSettings.load(agent).file_server_id
    with serving.control.database.begin() as db:
        db.get_one(FileServer, number).instance = "the one that runs"
    found = _agent(agent)
    for name in ("enrolment", "certificate", "server", "clock", "recovery points", "room"):
        assert Health.FAILED not in _healths(found, name), found[name]
    assert "as pinned" in found["certificate"][0].saw
    assert "the credential holds" in found["server"][0].saw
    with serving.control.database.read() as db:
        row = db.get_one(FileServer, number)
        assert (row.instance, row.last_seen_at) == ("the one that runs", None)


def test_what_is_wrong_with_an_agent_is_found(agent: Path, serving: Serving, tmp_path: Path) -> None:
    """Another certificate, a revoked credential, a wrong clock, a secret that others read, no server."""
    settings = AgentSettings.load(agent)
    clock = serving.control.clock
    assert isinstance(clock, MovableClock)
    clock.forward(hours=2)
    assert "behind the server's" in _agent(agent)["clock"][0].saw
    assert _healths(_agent(agent), "clock") == {Health.WARNING}
    clock.forward(hours=-2)
    (agent / "agent.json").chmod(0o644)
    assert "chmod 0600" in _agent(agent)["enrolment"][0].mend
    with serving.control.database.begin() as db:
        fleet.revoke_agent(db, ADMIN, settings.file_server_id, now=clock())
    assert "does not hold" in _agent(agent)["server"][0].saw
    assert "enrol" in _agent(agent)["server"][0].mend

    foreign = ServerSettings(folder=tmp_path / "foreign")
    foreign.folder.mkdir()
    files = certificate_files(foreign)
    assert files is not None
    replace(settings, certificate=files[0].read_text()).save(agent)
    assert "another certificate" in _agent(agent)["certificate"][0].saw
    replace(settings, url=f"https://127.0.0.1:{_free_port()}").save(agent)
    found = _agent(agent)
    assert _healths(found, "server") == {Health.FAILED}
    assert "cannot be reached" in found["server"][0].saw
    shutil.rmtree(agent)
    agent.mkdir()
    assert "not enrolled" in _agent(agent)["enrolment"][0].saw


def test_the_command_tells_people_and_programs(
    settings: ServerSettings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Each check is a line, or with --json an object; the exit code is the worst of all."""
    monkeypatch.setenv("BACKSTAY_AGENT", str(tmp_path / "no agent"))
    arguments = ["doctor", "--folder", str(settings.folder), "--database", settings.database_url]
    arguments += ["--host", "127.0.0.1", "--port", str(settings.port)]
    code = main([*arguments, "--json"])
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [one["event"] for one in events[:-1]] == ["check"] * (len(events) - 1)
    assert {one["room"] for one in events[:-1]} == {"server"}
    assert events[-1]["health"] == {0: "ok", 3: "warning"}[code]
    (settings.folder / "server.key").chmod(0o644)
    assert main(arguments) == 1
    shown = capsys.readouterr().out
    assert f"chmod 0600 {settings.folder / 'server.key'}" in shown
    assert "1 failed" in shown
    assert main(["doctor", "--folder", str(tmp_path / "nothing")]) == 2


def test_one_check_that_breaks_stops_no_other() -> None:
    """An error of ours or of the system is a failed check; the rest is still looked at."""

    def refused(_: None) -> Iterator[Verdict]:
        raise UsageError("no", hint="do")
        yield ok("never")

    def missing(_: None) -> Iterator[Verdict]:
        yield ok("before")
        Path("/no/such/file").read_text()

    checks: list[Check[None]] = [
        Check("a", refused),
        Check("b", missing),
        Check("c", lambda _: [warning("w", "m")]),
    ]
    told = list(examine(checks, None))
    assert [(name, one.health.value) for name, one in told] == [
        ("a", "failed"),
        ("b", "ok"),
        ("b", "failed"),
        ("c", "warning"),
    ]
    assert told[0][1] == failed("no", "do")
    assert worst(one for _, one in told) is Health.FAILED
    assert worst([]) is Health.OK
