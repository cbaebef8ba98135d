"""The commands that need a server, against one that listens, and an agent that speaks the real protocol."""

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import uvicorn
from tests.server.conftest import token_for
from tests.server.fleet_of_agents import Fleet

from backstay.cli import kept_login
from backstay.cli.kept_login import Login
from backstay.cli.main import main
from backstay.server.access import Role
from backstay.server.app import create_app, open_control
from backstay.server.settings import ServerSettings
from backstay.testing.protocol_agent import ProtocolAgent, step


class Place:
    """A server that listens on the loopback address, logged in to, with a file server fs1."""

    def __init__(self, url: str, agent: ProtocolAgent) -> None:
        self.url = url
        self.agent = agent


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Its address, and an administrator's token."""
    folder = tmp_path_factory.mktemp("listening")
    settings = ServerSettings(folder=folder, tls="off", background=False, lease_poll_seconds=0.2)
    control = open_control(settings)
    control.repositories.ensure_first(settings.storage_location, control.clock())
    token = token_for(control, Role.ADMINISTRATOR)
    config = uvicorn.Config(create_app(control), host="127.0.0.1", port=0, log_level="critical")
    serving = uvicorn.Server(config)
    thread = threading.Thread(target=serving.run)
    thread.start()
    while not serving.started:
        time.sleep(0.01)
    port = serving.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}", token
    serving.should_exit = True
    thread.join()
    control.database.close()


@pytest.fixture
def place(
    server: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[Place]:
    """Logged in, with a file server of the test's own name, whose agent is running."""
    url, token = server
    monkeypatch.setenv("BACKSTAY_CONFIG", str(tmp_path / "config"))
    monkeypatch.delenv("BACKSTAY_TOKEN", raising=False)
    kept_login.keep(Login(url, token, ""))
    with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=30) as client:
        agent = Fleet(client).agent(request.node.name)
        yield Place(url, agent)


def _lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    # The server logs in this process, too.
    return [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]


def test_sets_policies_and_rules_from_the_command_line(
    place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Made, shown with the origin of each value, changed and removed by name; JSON has what the API has."""
    name = place.agent.name
    rule = tmp_path / "rule"
    rule.write_text("*.tmp\n")
    assert main(["rules", "create", "scratch", str(rule)]) == 0
    policy = ["policies", "create", "nightly", "--schedule", "30 22 * * *", "--time-zone", "Europe/Berlin"]
    assert main([*policy, "--window", "22:00-06:00", "--keep-days", "7", "--monthly", "12"]) == 0
    made = ["sets", "create", f"{name}/home", "/home", "--policy", "nightly", "--rule", "scratch"]
    assert main([*made, "--retries", "5"]) == 0
    out = capsys.readouterr().out
    assert "retention: 7 keep days, 12 monthly [policy nightly]" in out
    assert "retries: 5, each after 10 min [backup set home]" in out
    assert "window: 22:00 for 8 h (Europe/Berlin)" in out
    assert main(["policies", "change", "nightly", "--daily", "3", "--rename", "nights"]) == 0
    assert main(["policies", "preview", "nights", "--time-zone", "Europe/Berlin", "--count", "2"]) == 0
    assert "22:30" in capsys.readouterr().out
    assert main(["sets", "show", f"{name}/home", "--json"]) == 0
    (shown,) = _lines(capsys)
    values = shown["resolved_policy"]["values"]  # type: ignore[index]
    assert (values["retention"]["keep_days"], values["retention"]["daily"]) == (7, 3)
    assert main(["policies", "remove", "nights"]) == 1
    assert f"{name}/home" in capsys.readouterr().err
    assert main(["sets", "change", f"{name}/home", "--policy", "", "--rule", ""]) == 0
    assert main(["policies", "remove", "nights"]) == 0
    assert main(["rules", "remove", "scratch"]) == 0
    assert main(["sets", "remove", f"{name}/home"]) == 0
    capsys.readouterr()
    assert main(["sets", "--json", "--file-server", name]) == 0
    assert _lines(capsys) == []


def test_a_wrong_rule_is_told_line_by_line(
    place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the server refuses is an error with its words and a hint, and exit code 2."""
    rule = tmp_path / "rule"
    rule.write_text("[size > x] a\n")
    assert main(["rules", "create", "wrong", str(rule)]) == 2
    assert "line 1" in capsys.readouterr().err
    assert main(["policies", "create", "wrong", "--window", "soon"]) == 2
    assert main(["sets", "show", "nothing-of-this-name"]) == 1
    assert "`backstay sets list` lists them" in capsys.readouterr().err


def test_a_name_that_several_file_servers_use_has_to_be_completed(
    server: tuple[str, str], place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    """SET alone is refused where it is not unique, and both full names are told."""
    url, token = server
    with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}) as client:
        other = Fleet(client).agent("another")
    for agent in (place.agent, other):
        assert main(["sets", "create", f"{agent.name}/twice", "/srv"]) == 0
    capsys.readouterr()
    assert main(["sets", "show", "twice"]) == 2
    assert f"another/twice, {place.agent.name}/twice" in capsys.readouterr().err
    assert main(["sets", "show", "another/twice"]) == 0


def test_a_backup_is_followed_through_its_steps(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """Each step is shown once with its figures, then how it ended; files with problems give exit code 3."""
    name = f"{place.agent.name}/home"
    assert main(["sets", "create", name, "/srv"]) == 0
    capsys.readouterr()

    def work() -> None:
        ticket = None
        while ticket is None:
            ticket = place.agent.lease(wait_seconds=1)
        steps = [step("request", "done"), step("type", "done", ["the set's first backup"])]
        place.agent.report(ticket, steps=steps)
        time.sleep(0.3)
        steps += [step("transmit", "done")]
        problems = [{"path": "L3Nydi94", "reason": "permission denied", "grade": "unreadable"}]
        place.agent.outcome(ticket, steps=steps, problems=problems)

    thread = threading.Thread(target=work)
    thread.start()
    code = main(["backup", name, "--follow"])
    thread.join()
    out = capsys.readouterr().out
    assert code == 3
    assert [out.count(word) for word in ("done      type", "done      transmit")] == [1, 1]
    assert "the set's first backup" in out
    assert "succeeded with warnings" in out
    assert "/srv/x: permission denied" in out
    assert main(["jobs", "--json", "--set", name]) == 0
    (job,) = _lines(capsys)
    assert job["state"] == "succeeded_with_warnings"
    assert main(["jobs", "log", str(job["id"])]) == 0
    assert "requested by" in capsys.readouterr().out
    assert main(["jobs", "show", str(job["id"])]) == 3


def test_a_backup_without_its_agent_fails_at_once(
    server: tuple[str, str], place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    """It says why and what to do, with exit code 1, also without --follow."""
    url, token = server
    with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}) as client:
        silent = Fleet(client).agent("silent", running=False)
    assert main(["sets", "create", f"{silent.name}/home", "/srv"]) == 0
    capsys.readouterr()
    assert main(["backup", "silent/home"]) == 1
    out = capsys.readouterr().out
    assert "the agent is not running" in out
    assert "hint: start the agent there" in out


def test_jobs_are_cancelled_and_run_again(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """A queued job is cancelled at once; what it was to do can be requested again."""
    name = f"{place.agent.name}/home"
    assert main(["sets", "create", name, "/srv"]) == 0
    capsys.readouterr()
    assert main(["backup", name, "--json"]) == 0
    (job,) = _lines(capsys)
    assert main(["jobs", "cancel", str(job["id"])]) == 0
    assert "is cancelled" in capsys.readouterr().out
    assert main(["jobs", "run-again", str(job["id"]), "--json"]) == 0
    assert _lines(capsys)[-1]["state"] == "queued"


def test_file_servers_are_shown_with_what_nobody_protects(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    """The list says whether the agent is there; one of them, what is covered."""
    place.agent.tell_inventory(
        {"volumes": [{"path": "/", "filesystem": "ext4", "bytes": 10, "used": 5}], "folders": []}
    )
    assert main(["file-servers", "--search", place.agent.name]) == 0
    assert "connected" in capsys.readouterr().out
    assert main(["file-servers", "show", place.agent.name]) == 0
    assert "uncovered" in capsys.readouterr().out
    assert main(["file-servers", "enrolment-token", "--most-uses", "1"]) == 0
    assert "backstay agent enrol" in capsys.readouterr().out
    assert main(["restore-points"]) == 0
