"""The server's clock is set forward: nobody was silent for that."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from fastapi.testclient import TestClient
from tests.server.conftest import MovableClock, token_for
from tests.server.fleet_of_agents import Fleet

from backstay.server import background
from backstay.server.access import Role
from backstay.server.app import create_app
from backstay.server.control import Control
from backstay.server.silence import Silence
from backstay.testing.protocol_agent import ProtocolAgent

pytestmark = pytest.mark.parametrize("control", ["sqlite"], indirect=True)


class _Hours:
    """The clock, and the time that really passes."""

    def __init__(self, clock: MovableClock) -> None:
        self._clock = clock
        self.passed = 0.0

    def monotonic(self) -> float:
        """As time.monotonic."""
        return self.passed

    def pass_(self, minutes: float) -> None:
        """Time passes, and the clock shows it."""
        self.passed += minutes * 60
        self._clock.forward(minutes=minutes)


@pytest.fixture
def hours(clock: MovableClock) -> _Hours:
    """Time, which tests let pass."""
    return _Hours(clock)


@pytest.fixture
def server(control: Control, hours: _Hours) -> Iterator[tuple[Control, TestClient]]:
    """A server process, and an administrator's way to it."""
    control = replace(control, silence=Silence(hours.monotonic))
    with TestClient(create_app(control)) as client:
        client.headers["Authorization"] = f"Bearer {token_for(control, Role.ADMINISTRATOR)}"
        yield control, client


def _look(control: Control, hours: _Hours, minutes: int = 0) -> None:
    """Let the chore look for jobs that nobody renews, again and again for so many minutes."""
    chore = next(one for one in background.CHORES if one.name == "reap")
    chore.run(control)
    for _ in range(minutes):
        hours.pass_(1)
        chore.run(control)


def _running(client: TestClient) -> tuple[ProtocolAgent, dict[str, Any]]:
    fleet = Fleet(client)
    agent = fleet.agent("fs")
    made = fleet.backup_set(agent, policy_layer={"retries": {"network_patience_seconds": 1200}})
    assert client.post(f"/api/v1/backup-sets/{made['id']}/backup").status_code == 201
    ticket = agent.lease()
    assert ticket is not None
    return agent, ticket


def _state(client: TestClient, ticket: dict[str, Any]) -> tuple[str, str]:
    job = client.get(f"/api/v1/jobs/{ticket['job']}").json()
    return job["state"], job["reason"]


def test_a_jump_aborts_no_job(server: tuple[Control, TestClient], hours: _Hours, clock: MovableClock) -> None:
    """The clock is set forward by a day: a running job runs on, and its next report is taken."""
    control, client = server
    agent, ticket = _running(client)
    _look(control, hours, 3)
    clock.forward(days=1)
    _look(control, hours, 2)
    assert _state(client, ticket) == ("running", "")
    assert agent.report(ticket)["verdict"] == "go_on"
    assert agent.outcome(ticket)["state"] == "succeeded"


def test_after_a_jump_silence_counts_again(
    server: tuple[Control, TestClient], hours: _Hours, clock: MovableClock
) -> None:
    """An agent that is silent for longer than its policy allows is given up, the time of the jump apart."""
    control, client = server
    _, ticket = _running(client)
    _look(control, hours, 1)
    clock.forward(hours=5)
    _look(control, hours, 20)
    assert _state(client, ticket)[0] == "running"
    _look(control, hours, 5)
    assert _state(client, ticket) == ("aborted", "nothing was heard of fs for too long")


def test_a_jump_in_one_process_gives_up_nobody_whom_another_hears(
    server: tuple[Control, TestClient], hours: _Hours, clock: MovableClock
) -> None:
    """A server whose clock is hours ahead of the others' aborts no job that reports to those."""
    control, client = server
    agent, ticket = _running(client)
    right = clock
    wrong = MovableClock()
    ahead = replace(control, clock=wrong, silence=Silence(hours.monotonic))
    for _ in range(60):
        assert agent.report(ticket, progress={"files": 1})["verdict"] == "go_on"
        hours.pass_(1)
        wrong.now = right.now.replace(day=right.now.day + 1)
        _look(ahead, hours)
    assert _state(client, ticket)[0] == "running"


def test_a_lease_that_ended_while_no_server_ran(
    server: tuple[Control, TestClient], hours: _Hours, clock: MovableClock
) -> None:
    """A server that starts listens for five minutes before it believes that an agent is gone."""
    control, client = server
    _, ticket = _running(client)
    clock.forward(hours=5)
    _look(control, hours, 4)
    assert _state(client, ticket)[0] == "running"
    _look(control, hours, 2)
    assert _state(client, ticket)[0] == "aborted"
