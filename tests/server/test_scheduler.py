"""The scheduler: each scheduled time asks once, waits as the window says; what was missed is made up once."""

from typing import Any

import pytest
from fastapi.testclient import TestClient
from tests.server.conftest import MovableClock
from tests.server.fleet_of_agents import Fleet

from backstay.server import job_queue, scheduler
from backstay.server.control import Control

NIGHT = {"starts": "22:00", "seconds": 8 * 3600}


@pytest.fixture
def fleet(client: TestClient) -> Fleet:
    """File servers with agents."""
    return Fleet(client)


def _set(fleet: Fleet, agent: Any, rules: list[str], **values: Any) -> dict[str, Any]:
    return fleet.backup_set(agent, policy_layer={"schedules": [{"rule": rule} for rule in rules], **values})


class Life:
    """Lets time pass in a server that ticks and reaps, with agents that are heard of or not."""

    def __init__(self, control: Control, client: TestClient, clock: MovableClock) -> None:
        self._control, self._client, self._clock = control, client, clock

    def tick(self) -> None:
        """One look of the scheduler, and one of the reaper."""
        scheduler.tick(self._control)
        with self._control.database.begin() as db:
            job_queue.reap(db, self._clock())

    def go_on(self, *agents: Any, minutes: float = 1, times: int = 1) -> None:
        """Let time pass in steps; these agents are heard of in each, without asking for work."""
        for _ in range(times):
            self._clock.forward(minutes=minutes)
            for agent in agents:
                agent.lease(room=0)
            self.tick()

    def jobs(self) -> list[dict[str, Any]]:
        """All jobs, the oldest first."""
        jobs: list[dict[str, Any]] = self._client.get("/api/v1/jobs", params={"limit": 1000}).json()["items"]
        return jobs[::-1]

    def log_of(self, job: dict[str, Any]) -> str:
        """The job's log."""
        return self._client.get(f"/api/v1/jobs/{job['id']}/log").text


@pytest.fixture
def life(control: Control, client: TestClient, clock: MovableClock) -> Life:
    """A server whose time the test moves; it is 12:00 UTC."""
    return Life(control, client, clock)


def test_a_scheduled_time_asks_once_and_runs(life: Life, fleet: Fleet) -> None:
    """At its time a set's job is queued, once however often one looks; the agent gets it."""
    agent = fleet.agent("fs1")
    _set(fleet, agent, ["5 12 * * *"])
    life.go_on(agent, times=4)
    assert life.jobs() == []
    life.go_on(agent, times=3)
    (job,) = life.jobs()
    assert (job["state"], job["trigger"]) == ("queued", "schedule")
    assert job["scheduled_for"] == "2026-11-25T12:05:00Z"
    ticket = agent.lease()
    assert ticket is not None
    agent.outcome(ticket)
    life.go_on(agent, times=3)
    assert [one["state"] for one in life.jobs()] == ["succeeded"]


def test_an_agent_that_is_off_is_waited_for_until_the_window_closes(life: Life, fleet: Fleet) -> None:
    """The job waits for the agent, and is skipped when the window closes; the reason says why."""
    agent = fleet.agent("fs1")
    _set(fleet, agent, ["30 12 * * *"], window={"starts": "12:00", "seconds": 7200})
    life.go_on(minutes=30)
    assert [one["state"] for one in life.jobs()] == ["waiting_for_agent"]
    life.go_on(minutes=89)
    assert [one["state"] for one in life.jobs()] == ["waiting_for_agent"]
    life.go_on(minutes=1)
    (job,) = life.jobs()
    assert job["state"] == "skipped"
    assert "window closed at 14:00" in job["reason"]
    assert "last heard of" in job["reason"]


def test_an_agent_that_comes_back_within_the_window_gets_the_job(life: Life, fleet: Fleet) -> None:
    """A job that waits for its agent begins when the agent is there again."""
    agent = fleet.agent("fs1")
    _set(fleet, agent, ["30 12 * * *"], window={"starts": "12:00", "seconds": 7200})
    life.go_on(minutes=31)
    life.go_on(minutes=60)
    assert agent.lease() is not None


def test_a_running_job_of_the_same_set_is_waited_for(life: Life, client: TestClient, fleet: Fleet) -> None:
    """A scheduled request is queued until its window closes, and then skipped; one by hand is refused."""
    agent = fleet.agent("fs1")
    made = _set(fleet, agent, ["30 12 * * *"], window={"starts": "12:00", "seconds": 7200})
    client.post(f"/api/v1/backup-sets/{made['id']}/backup")
    ticket = agent.lease()
    assert ticket is not None
    life.go_on(agent, minutes=30)
    assert [one["state"] for one in life.jobs()] == ["running", "queued"]
    refused = client.post(f"/api/v1/backup-sets/{made['id']}/backup")
    assert refused.status_code == 409
    assert f"job {ticket['job']} " in refused.json()["detail"]
    assert agent.lease() is None
    for _ in range(90):
        life.go_on(agent, minutes=1)
        agent.report(ticket)
    running, skipped = life.jobs()
    assert (running["state"], skipped["state"]) == ("running", "skipped")
    assert f"job {ticket['job']} of the same set was running" in skipped["reason"]


def test_by_hand_without_agent_fails_at_once(life: Life, client: TestClient, fleet: Fleet) -> None:
    """A person who asks waits for no agent that is not running, also beside a job that does."""
    agent = fleet.agent("fs1", running=False)
    made = _set(fleet, agent, ["1 12 * * *"])
    life.go_on(minutes=2)
    job = client.post(f"/api/v1/backup-sets/{made['id']}/backup").json()
    assert job["state"] == "failed"
    assert "the agent is not running" in job["reason"]
    assert [one["state"] for one in life.jobs()] == ["waiting_for_agent", "failed"]


def test_without_a_window_the_newer_request_takes_the_place(life: Life, fleet: Fleet) -> None:
    """A request that still waits when the set's next time comes is skipped in favour of the newer one."""
    agent = fleet.agent("fs1")
    _set(fleet, agent, ["0 * * * *"])
    life.go_on(minutes=30, times=6)
    first, second, third = life.jobs()
    assert [one["state"] for one in (first, second, third)] == ["skipped", "skipped", "waiting_for_agent"]
    assert f"job {second['id']} takes its place" in first["reason"]
    agent.lease(room=0)
    assert (agent.lease() or {})["job"] == third["id"]


def test_outside_the_window_a_request_waits_for_the_opening(life: Life, fleet: Fleet) -> None:
    """A time outside the window makes a job that no agent gets before the window opens."""
    agent = fleet.agent("fs1")
    _set(fleet, agent, ["0 13 * * *"], window=NIGHT)
    life.go_on(agent, minutes=61)
    (job,) = life.jobs()
    assert (job["state"], job["not_before"]) == ("queued", "2026-11-25T22:00:00Z")
    assert job["not_after"] == "2026-11-26T06:00:00Z"
    assert "opens at 2026-11-25 22:00" in life.log_of(job)
    assert agent.lease() is None
    life.go_on(agent, minutes=539)
    assert agent.lease() is not None


def test_an_hourly_schedule_asks_only_within_the_window(life: Life, fleet: Fleet) -> None:
    """Times before the opening give way to those that come with it: no day full of skipped jobs."""
    agent = fleet.agent("fs1")
    _set(fleet, agent, ["0 * * * *"], window=NIGHT)
    for _ in range(24 * 2):
        life.go_on(agent, minutes=30)
        ticket = agent.lease()
        if ticket is not None:
            agent.outcome(ticket)
    times = [one["scheduled_for"][11:16] for one in life.jobs()]
    assert times == ["22:00", "23:00", "00:00", "01:00", "02:00", "03:00", "04:00", "05:00"]
    assert {one["state"] for one in life.jobs()} == {"succeeded"}


def test_the_first_full_backup_may_ignore_the_window(life: Life, fleet: Fleet) -> None:
    """Without a restore point, and where the policy says so, the window is none."""
    agent = fleet.agent("fs1")
    _set(fleet, agent, ["0 13 * * *"], window=NIGHT, first_full_ignores_window=True)
    life.go_on(agent, minutes=61)
    (job,) = life.jobs()
    assert (job["not_before"], job["not_after"]) == (None, None)
    assert agent.lease() is not None


def test_what_was_missed_is_made_up_for_once(life: Life, fleet: Fleet, clock: MovableClock) -> None:
    """After three days without a server there is one job, for the last time, and it says that it is late."""
    agent = fleet.agent("fs1")
    _set(fleet, agent, ["0 */6 * * *"])
    life.tick()
    clock.forward(days=3, hours=1)
    life.go_on(agent)
    (job,) = life.jobs()
    assert (job["state"], job["scheduled_for"]) == ("queued", "2026-11-28T12:00:00Z")
    assert "was due at 2026-11-28 12:00" in life.log_of(job)


def test_a_window_that_closed_while_no_server_ran_is_told(
    life: Life, fleet: Fleet, clock: MovableClock
) -> None:
    """The job that was missed is there, skipped, with the reason; the next one comes at its time."""
    agent = fleet.agent("fs1")
    _set(fleet, agent, ["0 23 * * *"], window=NIGHT)
    life.tick()
    clock.forward(hours=21)
    life.go_on(agent)
    (job,) = life.jobs()
    assert job["state"] == "skipped"
    assert "closed at 2026-11-26 06:00 UTC, while no server ran" in job["reason"]
    life.go_on(agent, minutes=14 * 60)
    assert [one["state"] for one in life.jobs()] == ["skipped", "queued"]


def test_a_clock_that_jumps_makes_no_flood_and_starves_nobody(
    life: Life, fleet: Fleet, clock: MovableClock
) -> None:
    """A day forward is made up for once; a day back, and the set is backed up as its schedule says again."""
    agent = fleet.agent("fs1")
    _set(fleet, agent, ["0 * * * *"])

    def an_hour() -> None:
        for _ in range(6):
            life.go_on(agent, minutes=10)
            ticket = agent.lease()
            if ticket is not None:
                agent.outcome(ticket)

    an_hour()
    assert len(life.jobs()) == 1
    clock.forward(days=1)
    an_hour()
    assert len(life.jobs()) == 3
    clock.forward(days=-1)
    an_hour()
    an_hour()
    assert len(life.jobs()) == 5
    assert len({one["scheduled_for"] for one in life.jobs()}) == 5


def test_a_changed_schedule_makes_up_for_nothing(
    life: Life, client: TestClient, fleet: Fleet, clock: MovableClock
) -> None:
    """What was due by the old schedule is asked for before it is gone; the new one only looks ahead."""
    agent = fleet.agent("fs1")
    policy = client.post(
        "/api/v1/policies", json={"name": "p", "values": {"schedules": [{"rule": "0 13 * * *"}]}}
    ).json()
    fleet.backup_set(agent, policy_id=policy["id"])
    life.tick()
    clock.forward(minutes=60, seconds=2)
    agent.lease(room=0)
    values = {"schedules": [{"rule": "30 12 * * *"}]}
    assert client.patch(f"/api/v1/policies/{policy['id']}", json={"values": values}).status_code == 200
    life.go_on(agent, times=3)
    assert [one["scheduled_for"] for one in life.jobs()] == ["2026-11-25T13:00:00Z"]
    life.go_on(agent, minutes=24 * 60)
    assert life.jobs()[-1]["scheduled_for"] == "2026-11-26T12:30:00Z"


def test_a_disabled_set_is_neither_scheduled_nor_made_up_for(
    life: Life, client: TestClient, fleet: Fleet
) -> None:
    """Switching off skips what waits; switching on starts from then."""
    agent = fleet.agent("fs1")
    made = _set(fleet, agent, ["0 * * * *"])
    life.go_on(minutes=61)
    client.post(f"/api/v1/backup-sets/{made['id']}/disable")
    assert [one["state"] for one in life.jobs()] == ["skipped"]
    life.go_on(agent, minutes=60, times=3)
    client.post(f"/api/v1/backup-sets/{made['id']}/enable")
    life.go_on(agent, minutes=10)
    assert len(life.jobs()) == 1
    life.go_on(agent, minutes=60)
    assert len(life.jobs()) == 2


def test_spring_and_autumn_ask_once_a_day(life: Life, fleet: Fleet, clock: MovableClock) -> None:
    """On the days when clocks change, a time in the changed hour asks once, in local time."""
    agent = fleet.agent("fs1")
    clock.now = clock.now.replace(year=2027, month=3, day=27, hour=0)
    fleet.backup_set(
        agent, policy_layer={"schedules": [{"rule": "30 2 * * *", "time_zone": "Europe/Berlin"}]}
    )
    for _ in range(48 * 2):
        life.go_on(minutes=30)
    assert [one["scheduled_for"] for one in life.jobs()] == [
        "2027-03-27T01:30:00Z",
        "2027-03-28T01:00:00Z",
    ]


def test_a_set_whose_policy_makes_no_sense_stops_no_other(life: Life, fleet: Fleet, control: Control) -> None:
    """A set whose time zone this machine does not know any more is left alone; others are asked for."""
    from backstay.server.tables import BackupSetRow

    first, second = fleet.agent("fs1"), fleet.agent("fs2")
    broken = _set(fleet, first, ["5 12 * * *"])
    _set(fleet, second, ["5 12 * * *"])
    with control.database.begin() as db:
        row = db.get_one(BackupSetRow, broken["id"])
        row.policy_layer = {"schedules": [{"rule": "5 12 * * *", "time_zone": "Gone/Away"}]}
    life.go_on(first, second, minutes=6)
    assert [one["file_server"]["name"] for one in life.jobs()] == ["fs2"]
