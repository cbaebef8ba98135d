"""Agents that wait for work: called when there is some, and cheap while there is none."""

import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from sqlalchemy import event
from tests.server.conftest import MovableClock, token_for
from tests.server.fleet_of_agents import Fleet
from tests.server.test_server_login import Serving

from backstay.protocol.certificate import pinned_certificate, trusting_only
from backstay.server.access import Role
from backstay.testing.protocol_agent import ProtocolAgent


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """A server that answers, with a repository."""
    server = Serving(tmp_path_factory.mktemp("server"))
    settings = server.control.settings
    server.control.repositories.ensure_first(settings.storage_location, server.control.clock())
    yield server
    server.close()


@pytest.fixture
def http(serving: Serving) -> Iterator[httpx.Client]:
    """An administrator's way to it."""
    context = trusting_only(pinned_certificate(serving.url, serving.fingerprint))
    with httpx.Client(base_url=serving.url, verify=context, timeout=60) as client:
        client.headers["Authorization"] = f"Bearer {token_for(serving.control, Role.ADMINISTRATOR)}"
        yield client


class _Asking(threading.Thread):
    """One long question for work."""

    def __init__(self, agent: ProtocolAgent, seconds: float) -> None:
        super().__init__()
        self._agent, self._seconds = agent, seconds
        self.ticket: dict[str, Any] | None = None
        self.took = 0.0
        self.start()

    def run(self) -> None:
        """Ask, and note the answer and how long it took."""
        began = time.monotonic()
        self.ticket = self._agent.lease(wait_seconds=self._seconds)
        self.took = time.monotonic() - began


def test_what_others_do_costs_no_question_for_each_that_waits(serving: Serving, http: httpx.Client) -> None:
    """Many changes while many agents wait: the database is asked once for all, not once for each."""
    fleet = Fleet(http)
    agents = [fleet.agent(f"idle{number}") for number in range(12)]
    asking = [_Asking(agent, 3) for agent in agents]
    time.sleep(1)
    asked = 0

    def count(*_: Any) -> None:
        nonlocal asked
        asked += 1

    event.listen(serving.control.database.engine, "before_cursor_execute", count)
    for _ in range(100):
        serving.control.wakeups.wake()
        time.sleep(0.005)
    event.remove(serving.control.database.engine, "before_cursor_execute", count)
    for one in asking:
        one.join()
    assert [one.ticket for one in asking] == [None] * 12
    assert asked < 100


def test_who_waits_gets_the_job_at_once_and_nobody_else(serving: Serving, http: httpx.Client) -> None:
    """A backup that is asked for reaches its agent long before its question is over."""
    fleet = Fleet(http)
    wanted, other = fleet.agent("wanted"), fleet.agent("other")
    number = fleet.backup_set(wanted)["id"]
    asking = [_Asking(wanted, 20), _Asking(other, 4)]
    time.sleep(1)
    assert http.post(f"/api/v1/backup-sets/{number}/backup").status_code == 201
    for one in asking:
        one.join()
    assert asking[0].ticket is not None
    assert asking[0].took < 10
    assert asking[1].ticket is None


def test_a_clock_that_is_set_forward_loses_nobody_who_waits(serving: Serving, http: httpx.Client) -> None:
    """An agent that waits when the clock jumps by a day still runs: a backup can be asked for at once."""
    fleet = Fleet(http)
    agent = fleet.agent("waits")
    number = fleet.backup_set(agent)["id"]
    asking = _Asking(agent, 20)
    time.sleep(2.5)
    clock = serving.control.clock
    assert isinstance(clock, MovableClock)
    clock.forward(days=1)
    ends = time.monotonic() + 10
    while not http.get(f"/api/v1/file-servers/{agent.file_server_id}").json()["connected"]:
        assert time.monotonic() < ends
        time.sleep(0.2)
    assert http.post(f"/api/v1/backup-sets/{number}/backup").json()["state"] == "queued"
    asking.join()
    assert asking.ticket is not None
