"""Jobs through the API: lists, logs, cancelling, running again, and what happens live."""

import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import insert
from tests.server.conftest import MovableClock, token_for
from tests.server.fleet_of_agents import Fleet

from backstay.server.access import Role
from backstay.server.control import Control
from backstay.server.tables import JobRow
from backstay.testing.protocol_agent import step


@pytest.fixture
def fleet(client: TestClient) -> Fleet:
    """File servers with agents."""
    return Fleet(client)


def _pages(client: TestClient, **params: Any) -> Iterator[dict[str, Any]]:
    after = {}
    while True:
        page = client.get("/api/v1/jobs", params={**params, **after}).json()
        yield from page["items"]
        if page["next"] is None:
            return
        after = {"after": page["next"]}


def _events(text: str) -> list[tuple[str, Any]]:
    blocks = [block.split("\n") for block in text.split("\n\n") if "data: " in block]
    return [
        (block[1].removeprefix("event: "), json.loads(block[2].removeprefix("data: "))) for block in blocks
    ]


def test_jobs_are_paged_the_newest_first(control: Control, client: TestClient, clock: MovableClock) -> None:
    """Pages have every job once, also where many were requested at the same moment; filters hold."""
    rows = [
        {
            "kind": "backup" if number % 3 else "verify",
            "state": "failed" if number % 5 == 0 else "succeeded",
            "trigger": "schedule",
            "created_at": clock.now if number < 8 else clock.now.replace(minute=number),
        }
        for number in range(20)
    ]
    with control.database.begin() as db:
        db.execute(insert(JobRow), rows)
    numbers = [job["id"] for job in _pages(client, limit=3)]
    assert numbers == sorted(numbers, reverse=True)
    assert len(numbers) == 20
    assert [job["id"] for job in _pages(client, limit=2, state="failed", kind="verify")] == [16, 1]
    late = {"since": "2026-11-25T12:10:00+00:00", "until": "2026-11-25T13:12:00+01:00"}
    assert [job["id"] for job in _pages(client, **late)] == [12, 11]
    assert client.get("/api/v1/jobs", params={"after": "x-1"}).status_code == 422
    assert client.get("/api/v1/jobs", params={"since": "0001-01-01T00:00:00+14:00"}).status_code == 422


def test_a_job_shows_steps_progress_problems_and_log(client: TestClient, fleet: Fleet) -> None:
    """What an agent reports is what the API shows, names that are no text included."""
    agent = fleet.agent("fs1")
    made = fleet.backup_set(agent)
    job = client.post(f"/api/v1/backup-sets/{made['id']}/backup").json()
    ticket = agent.lease()
    assert ticket is not None
    assert ticket["job"] == job["id"]
    url = f"/api/v1/jobs/{job['id']}"
    progress = {"step": "transmit", "files": 3, "bytes": 10, "path": "L3Nydi/p"}
    agent.report(ticket, steps=[step("request", "done"), step("type", "running")], progress=progress)
    seen = client.get(url).json()
    assert [one["name"] for one in seen["steps"]] == ["request", "type"]
    assert seen["state"] == "running"
    assert seen["progress"]["path"] == "/srv/�"
    assert seen["progress"]["path_base64"] == "L3Nydi/p"
    problems = [{"path": "L3Nydi/p", "reason": "permission denied", "grade": "unreadable"}] * 3
    agent.outcome(ticket, problems=problems, messages=["three files"], figures={"files": 9})
    seen = client.get(url).json()
    assert (seen["state"], seen["problem_count"]) == ("succeeded_with_warnings", 3)
    first = client.get(f"{url}/problems", params={"limit": 2}).json()
    rest = client.get(f"{url}/problems", params={"after": first["next"]}).json()
    assert (first["total"], len(first["items"]), len(rest["items"])) == (3, 2, 1)
    assert first["items"][0]["reason"] == "permission denied"
    lines = client.get(f"{url}/log").text.splitlines()
    assert "requested by" in lines[0]
    assert lines[-1].endswith("three files")
    messages = client.get(f"{url}/messages", params={"limit": 1}).json()
    assert "requested by" in messages["items"][0]["text"]


def test_a_running_job_is_cancelled_by_its_agent(client: TestClient, fleet: Fleet) -> None:
    """The agent hears of it with its next report; the job is cancelled when it says so, and can run again."""
    agent = fleet.agent("fs1")
    made = fleet.backup_set(agent)
    url = f"/api/v1/backup-sets/{made['id']}/backup"
    job = client.post(url).json()
    ticket = agent.lease()
    assert ticket is not None
    assert client.post(f"/api/v1/jobs/{job['id']}/run-again").status_code == 409
    assert client.post(f"/api/v1/jobs/{job['id']}/cancel").json()["state"] == "running"
    assert agent.report(ticket)["verdict"] == "cancel"
    assert agent.outcome(ticket, "cancelled")["state"] == "cancelled"
    assert client.post(f"/api/v1/jobs/{job['id']}/cancel").status_code == 409
    again = client.post(f"/api/v1/jobs/{job['id']}/run-again")
    assert again.status_code == 201
    assert agent.lease() is not None


def test_cancelling_takes_a_permission(client: TestClient, control: Control, fleet: Fleet) -> None:
    """Who may only restore cancels no backup."""
    made = fleet.backup_set(fleet.agent("fs1"))
    job = client.post(f"/api/v1/backup-sets/{made['id']}/backup").json()
    client.headers["Authorization"] = f"Bearer {token_for(control, Role.RESTORE_ONLY)}"
    assert client.post(f"/api/v1/jobs/{job['id']}/cancel").status_code == 403
    assert client.post(f"/api/v1/jobs/{job['id']}/run-again").status_code == 403


def test_a_job_is_followed_to_its_end(client: TestClient, fleet: Fleet) -> None:
    """The stream tells each line once and each change, and ends with the job; who comes again goes on."""
    agent = fleet.agent("fs1")
    made = fleet.backup_set(agent)
    job = client.post(f"/api/v1/backup-sets/{made['id']}/backup").json()
    url = f"/api/v1/jobs/{job['id']}/events"
    taken = threading.Event()

    def work() -> None:
        ticket = agent.lease()
        assert ticket is not None
        taken.wait(5)
        agent.report(ticket, messages=["looking at files"], steps=[step("type", "done")])
        agent.outcome(ticket, reason="fine")

    thread = threading.Thread(target=work)
    thread.start()
    taken.set()
    events = _events(client.get(url).text)
    thread.join()
    names = [name for name, _ in events]
    assert names[-1] == "end"
    assert events[-1][1]["state"] == "succeeded"
    texts = [data["text"] for name, data in events if name == "message"]
    assert texts.count("looking at files") == 1
    assert [data["state"] for name, data in events if name == "job"][-1] == "succeeded"
    last = [data["id"] for name, data in events if name == "message"][-1]
    again = _events(client.get(url, headers={"Last-Event-ID": str(last)}).text)
    assert [name for name, _ in again] == ["job", "end"]


def test_the_overview_tells_which_jobs_change(control: Control, client: TestClient, fleet: Fleet) -> None:
    """A watcher of everything sees a job come, run and end, and also one that failed at once."""
    from backstay.server.api.job_events import Overview

    agent = fleet.agent("fs1")
    silent = fleet.agent("fs2", running=False)
    first, second = fleet.backup_set(agent), fleet.backup_set(silent)
    overview = Overview(control)

    def look() -> list[tuple[int, str]]:
        return [(data["id"], data["state"]) for _, data in _events("".join(overview.look()))]

    assert look() == []
    job = client.post(f"/api/v1/backup-sets/{first['id']}/backup").json()["id"]
    assert look() == [(job, "queued")]
    failed = client.post(f"/api/v1/backup-sets/{second['id']}/backup").json()
    assert failed["state"] == "failed"
    ticket = agent.lease()
    assert ticket is not None
    assert look() == [(job, "running"), (failed["id"], "failed")]
    agent.outcome(ticket)
    assert look() == [(job, "succeeded")]
    assert look() == []
