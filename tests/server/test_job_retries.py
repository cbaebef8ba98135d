"""What follows a job that failed or was aborted: another attempt, a fresh backup, or nothing."""

from typing import Any

import pytest
from fastapi.testclient import TestClient
from tests.server.conftest import MovableClock
from tests.server.fleet_of_agents import Fleet

from backstay.server import job_queue
from backstay.server.control import Control
from backstay.testing.protocol_agent import step


@pytest.fixture
def fleet(client: TestClient) -> Fleet:
    """File servers with agents."""
    return Fleet(client)


def _jobs(client: TestClient) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = client.get("/api/v1/jobs").json()["items"]
    return items[::-1]


def _reap(control: Control, clock: MovableClock) -> None:
    with control.database.begin() as db:
        job_queue.reap(db, clock())


def test_a_failure_is_tried_again_as_often_as_the_policy_says(
    client: TestClient, fleet: Fleet, clock: MovableClock
) -> None:
    """Each attempt comes after the delay, names the first, and is the last one only when no more follow."""
    agent = fleet.agent("fs1")
    made = fleet.backup_set(agent, policy_layer={"retries": {"count": 2, "delay_seconds": 600}})
    client.post(f"/api/v1/backup-sets/{made['id']}/backup")
    for attempt in (1, 2, 3):
        ticket = agent.lease()
        assert ticket is not None
        agent.outcome(ticket, "failed", reason="no room", retryable=True)
        first = _jobs(client)[0]["id"]
        told = client.get(f"/api/v1/jobs/{ticket['job']}").json()
        assert told["will_be_retried"] == (attempt < 3)
        assert told["retry_of"] == (None if attempt == 1 else first)
        assert agent.lease() is None
        clock.forward(seconds=599)
        assert agent.lease() is None
        clock.forward(seconds=1)
    assert [(job["state"], job["attempt"]) for job in _jobs(client)] == [("failed", n) for n in (1, 2, 3)]


def test_what_would_fail_again_is_not_tried_again(client: TestClient, fleet: Fleet) -> None:
    """An agent that says so ends it; so does a set that was switched off meanwhile."""
    agent = fleet.agent("fs1")
    made = fleet.backup_set(agent)
    url = f"/api/v1/backup-sets/{made['id']}"
    client.post(f"{url}/backup")
    agent.outcome(agent.lease() or {}, "failed", reason="no such path", retryable=False)
    assert len(_jobs(client)) == 1
    client.post(f"{url}/backup")
    client.post(f"{url}/disable")
    agent.outcome(agent.lease() or {}, "failed", reason="no room", retryable=True)
    assert len(_jobs(client)) == 2


def test_by_hand_is_not_refused_while_a_retry_waits(client: TestClient, fleet: Fleet) -> None:
    """Who cannot wait for the delay starts a backup at once."""
    agent = fleet.agent("fs1")
    made = fleet.backup_set(agent)
    url = f"/api/v1/backup-sets/{made['id']}/backup"
    client.post(url)
    agent.outcome(agent.lease() or {}, "failed", retryable=True)
    assert client.post(url).status_code == 201
    ticket = agent.lease()
    assert ticket is not None
    assert client.post(url).status_code == 409
    assert [job["state"] for job in _jobs(client)] == ["failed", "queued", "running"]


@pytest.mark.parametrize("machine", [True, False])
def test_a_restart_aborts_with_the_reason(client: TestClient, fleet: Fleet, machine: bool) -> None:
    """The job says what was restarted, its running step is over; the old process is told that it is lost."""
    agent = fleet.agent("fs1")
    made = fleet.backup_set(agent)
    client.post(f"/api/v1/backup-sets/{made['id']}/backup")
    ticket = agent.lease()
    assert ticket is not None
    agent.report(ticket, steps=[step("request", "done"), step("transmit", "running")])
    fresh = agent.restarted(machine=machine)
    assert fresh.lease() is None
    (job,) = [client.get(f"/api/v1/jobs/{one['id']}").json() for one in _jobs(client)]
    assert job["state"] == "aborted"
    what = "the file server fs1" if machine else "the agent of fs1"
    assert job["reason"] == f"{what} was restarted while it ran"
    assert job["steps"][-1]["state"] == "aborted"
    assert job["steps"][-1]["ended_ns"]
    told = agent.outcome(ticket)
    assert told["state"] == "aborted"
    assert agent.report(ticket)["verdict"] == "lost"


def test_a_fresh_backup_follows_at_once_where_the_policy_asks(client: TestClient, fleet: Fleet) -> None:
    """The one that follows is a job of its own, and is leased by the new process."""
    agent = fleet.agent("fs1")
    made = fleet.backup_set(agent, policy_layer={"restart_after_abort": True})
    client.post(f"/api/v1/backup-sets/{made['id']}/backup")
    agent.lease()
    ticket = agent.restarted(machine=True).lease()
    assert ticket is not None
    aborted, follower = _jobs(client)
    assert (aborted["state"], follower["state"], follower["trigger"]) == ("aborted", "running", "restart")
    assert ticket["job"] == follower["id"]


def test_an_agent_that_is_silent_for_too_long_loses_its_job(
    client: TestClient, fleet: Fleet, control: Control, clock: MovableClock
) -> None:
    """Nothing is given up while the policy's patience lasts; what comes later is turned away, and noted."""
    agent = fleet.agent("fs1")
    made = fleet.backup_set(agent, policy_layer={"retries": {"network_patience_seconds": 3600}})
    client.post(f"/api/v1/backup-sets/{made['id']}/backup")
    ticket = agent.lease()
    assert ticket is not None
    clock.forward(seconds=3600)
    _reap(control, clock)
    assert agent.report(ticket)["verdict"] == "go_on"
    clock.forward(seconds=3600 + 121)
    _reap(control, clock)
    assert agent.report(ticket)["verdict"] == "lost"
    assert agent.outcome(ticket)["state"] == "aborted"
    assert "a late outcome was turned away" in client.get(f"/api/v1/jobs/{ticket['job']}/log").text


def test_a_server_that_comes_back_lets_the_job_go_on(
    client: TestClient, fleet: Fleet, control: Control, clock: MovableClock
) -> None:
    """Nothing is kept in the memory of a server process: another one takes the reports and the outcome."""
    from dataclasses import replace

    from backstay.server.app import create_app
    from backstay.server.control import Wakeups

    agent = fleet.agent("fs1")
    made = fleet.backup_set(agent)
    client.post(f"/api/v1/backup-sets/{made['id']}/backup")
    ticket = agent.lease()
    assert ticket is not None
    clock.forward(minutes=10)
    another = replace(control, instance="another", wakeups=Wakeups())
    with TestClient(create_app(another)) as fresh:
        agent.client = fresh
        assert agent.report(ticket)["verdict"] == "go_on"
        assert agent.outcome(ticket)["state"] == "succeeded"


def test_an_agent_says_nothing_of_jobs_of_others(client: TestClient, fleet: Fleet) -> None:
    """Neither a report nor an outcome touches another file server's job, or tells anything of it."""
    agent, thief = fleet.agent("fs1"), fleet.agent("fs2")
    made = fleet.backup_set(agent)
    client.post(f"/api/v1/backup-sets/{made['id']}/backup")
    ticket = agent.lease()
    assert ticket is not None
    before = client.get(f"/api/v1/jobs/{ticket['job']}/log").text
    for process in (thief, thief.restarted()):
        for what, body in (("report", {}), ("outcome", {"state": "failed"})):
            answer = process.say(ticket["job"], what, {"epoch": ticket["epoch"], **body})
            assert answer.status_code == 404 or answer.json()["verdict"] == "lost"
    assert client.get(f"/api/v1/jobs/{ticket['job']}/log").text == before
    assert agent.report(ticket)["verdict"] == "go_on"
