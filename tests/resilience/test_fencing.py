"""Two agents with one identity, clocks that are wrong, and what comes too late."""

import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from tests.resilience.conftest import fill

from backstay.backup.workflow import TRANSMIT
from backstay.server import job_queue
from backstay.server.tables import RestorePointRow
from backstay.testing.agent_worker import Seam
from backstay.testing.fleet_rig import Agent, FleetRig, until


def test_a_copy_on_another_machine_is_refused(rig: FleetRig, small_source: Path, tmp_path: Path) -> None:
    """While the first lives the second gets no work and says why; the first and its job notice nothing."""
    first = rig.started("original", Seam(machine_id="machine-1", pause_at=(f"{TRANSMIT} start",)))
    rig.until_connected(first)
    number = rig.back_up(rig.set_of(first, [small_source]))
    first.until_paused()
    second = first.copy(tmp_path / "copy")
    second.start(Seam(machine_id="machine-2"))
    try:
        until("the copy to be refused", lambda: "two agents have the same identity" in second.said())
        first.go_on()
        job = rig.ended(number)
        assert (job.state, job.reason) == ("succeeded", "")
        assert second.running.process.poll() is None
        assert first.running.process.poll() is None
    finally:
        second.end()


def test_of_two_on_one_machine_the_newer_wins(rig: FleetRig, small_source: Path, tmp_path: Path) -> None:
    """The older process stops by itself, says why, and does not come back; its job is aborted."""
    older = rig.started("twice", Seam(pause_at=(f"{TRANSMIT} start",)))
    rig.until_connected(older)
    set_id = rig.set_of(older, [small_source])
    number = rig.back_up(set_id)
    older.until_paused()
    newer = older.copy(tmp_path / "newer")
    newer.start()
    try:
        job = rig.ended(number)
        assert (job.state, job.reason) == ("aborted", "the agent of twice was restarted while it ran")
        older.go_on()
        assert older.running.wait() == 1
        assert "another agent process speaks for the file server twice now" in older.said()
        assert rig.ended(rig.back_up(set_id)).state == "succeeded"
        assert newer.running.process.poll() is None
    finally:
        newer.end()


@pytest.mark.parametrize("days", [-1, 1])
def test_a_clock_that_is_wrong_by_a_day(rig: FleetRig, small_source: Path, days: int) -> None:
    """The restore point and all steps bear the server's time, whatever the file server believes."""
    agent = rig.started(f"clock{days}", Seam(clock_shift=days * 86400.0))
    rig.until_connected(agent)
    job = rig.ended(rig.back_up(rig.set_of(agent, [small_source])))
    assert (job.state, job.reason) == ("succeeded", "")
    minute = timedelta(minutes=1)
    with rig.control.database.read() as db:
        point = db.get_one(RestorePointRow, job.restore_point_id)
    assert abs(point.manifest_time - datetime.now(UTC)) < minute
    for step in job.steps:
        for at in (step["started_ns"], step["ended_ns"]):
            assert abs(at / 1e9 - time.time()) < minute.total_seconds(), step
    assert rig.file_server(agent).clock_offset == pytest.approx(days * 86400, abs=60)


def speak(rig: FleetRig, agent: Agent, path: str, body: dict[str, object], instance: str) -> httpx.Response:
    """Send a message as the agent would."""
    settings = agent.settings
    headers = {
        "authorization": f"Agent {settings.file_server_id}:{settings.secret}",
        "x-backstay-instance": instance,
    }
    return httpx.post(f"{rig.server.url}/agent/v1/{path}", json=body, headers=headers)


def test_what_comes_too_late_is_turned_away(rig: FleetRig, small_source: Path) -> None:
    """A job that was given up learns so; its report and outcome change nothing; its log says they came."""
    agent = rig.started("late", Seam(pause_at=(f"{TRANSMIT} start",)))
    rig.until_connected(agent)
    number = rig.back_up(rig.set_of(agent, [small_source]))
    agent.until_paused()
    control = rig.control
    with control.database.begin() as db:
        row = job_queue.get_job(db, number)
        row.leased_until = control.clock() - timedelta(seconds=1)
        epoch, instance = row.lease_epoch, row.leased_to
        job_queue.reap(db, control.clock())
    assert rig.job(number).state == "aborted"
    until("the late report", lambda: any("a late report" in text for text in rig.messages(number)))
    agent.go_on()
    until("the agent to give it up", lambda: '"lost"' in agent.said() or "job ended" in agent.said())
    answer = speak(rig, agent, f"jobs/{number}/outcome", {"epoch": epoch, "state": "succeeded"}, instance)
    assert (answer.status_code, answer.json()["state"]) == (200, "aborted")
    messages = rig.messages(number)
    assert sum("a late outcome was turned away" in text for text in messages) == 1
    assert sum("a late report was turned away" in text for text in messages) == 1
    assert rig.job(number).restore_point_id is None
    assert rig.job(number).state == "aborted"


def test_a_lost_lease_ends_the_work(rig: FleetRig, tmp_path: Path) -> None:
    """An agent whose job was given up while it transmits stops, and commits nothing."""
    agent = rig.started("lost", Seam(pause_at=("put packs end 1",)))
    rig.until_connected(agent)
    set_id = rig.set_of(agent, [fill(tmp_path / "source", 110, 3)])
    number = rig.back_up(set_id)
    agent.until_paused()
    control = rig.control
    with control.database.begin() as db:
        row = job_queue.get_job(db, number)
        row.leased_until = control.clock() - timedelta(seconds=1)
        job_queue.reap(db, control.clock())
    until("the late report", lambda: any("a late report" in text for text in rig.messages(number)))
    agent.go_on()
    until("the agent to end it", lambda: "job ended" in agent.said())
    with control.database.read() as db:
        assert db.query(RestorePointRow).filter_by(backup_set_id=set_id).count() == 0
    following = rig.ended(rig.back_up(set_id))
    assert (following.state, following.reason) == ("succeeded", "")
    assert rig.blobs_stored_twice(agent) == []


def test_a_commit_that_comes_too_late(rig: FleetRig, small_source: Path) -> None:
    """A manifest that was under way when the job was given up is refused, though the lease was remembered."""
    agent = rig.started("too-late", Seam(pause_at=("put manifests start",)))
    rig.until_connected(agent)
    set_id = rig.set_of(agent, [small_source])
    number = rig.back_up(set_id)
    agent.until_paused()
    control = rig.control
    with control.database.begin() as db:
        row = job_queue.get_job(db, number)
        row.leased_until = control.clock() - timedelta(seconds=1)
        job_queue.reap(db, control.clock())
    agent.go_on()
    until("the agent to end it", lambda: "job ended" in agent.said())
    with control.database.read() as db:
        assert db.query(RestorePointRow).filter_by(backup_set_id=set_id).count() == 0
    assert rig.ended(rig.back_up(set_id)).state == "succeeded"


def test_an_answer_that_was_lost(rig: FleetRig, small_source: Path) -> None:
    """A job whose ticket never reached the agent is given to it again, under a new epoch."""
    agent = rig.started("answerless")
    rig.until_connected(agent)
    instance = rig.file_server(agent).instance
    agent.running.process.send_signal(19)
    try:
        number = rig.back_up(rig.set_of(agent, [small_source]))
        server = rig.file_server(agent)
        greeting = {
            "instance": instance,
            "first": False,
            "machine_id": server.machine_id,
            "boot_id": server.boot_id,
            "time_ns": time.time_ns(),
            "wait_seconds": 0,
        }
        answer = speak(rig, agent, "lease", greeting, instance)
        assert json.loads(answer.content)["ticket"]["job"] == number
    finally:
        agent.running.process.send_signal(18)
    job = rig.ended(number)
    assert (job.state, job.lease_epoch) == ("succeeded", 2)
    assert any("given to the agent again" in text for text in rig.messages(number))
