"""The agent or its machine restarts in the middle of a backup: aborted, swept, and resumed."""

from pathlib import Path

import pytest
from tests.resilience.conftest import fill

from backstay.backup.workflow import CLEAN_UP, ESTIMATE, RECOVERY_POINT, REQUEST, STEPS, TRANSMIT, TYPE
from backstay.domain.job import JobState, Trigger
from backstay.testing.agent_worker import Seam
from backstay.testing.fleet_rig import Agent, FleetRig, same_tree

_PLACES = [
    *(f"{step} start" for step in (REQUEST, TYPE, RECOVERY_POINT, ESTIMATE, TRANSMIT)),
    "put packs end 1",
    "put packs start 2",
    f"{CLEAN_UP} end",
    "put index end",
    "put manifests start",
]


def restored(rig: FleetRig, agent: Agent, point: str | None, source: Path, target: Path) -> str:
    """How the tree that a restore of the point makes differs from the source."""
    assert point is not None
    job = rig.ended(rig.restore(agent, point, target))
    assert job.state == JobState.SUCCEEDED.value, job.reason
    return same_tree(source, target / source.relative_to("/"))


def test_killed_in_every_step(rig: FleetRig, source: Path, tmp_path: Path) -> None:
    """Each job is aborted, says why, and the last sends nothing that one before it had stored."""
    agent = rig.enrol("killed")
    set_id = rig.set_of(agent, [source])
    stored: list[int] = []
    before: int | None = None
    for place in [*_PLACES, ""]:
        agent.start(Seam(kill_at=place))
        rig.until_connected(agent)
        if before is not None:
            job = rig.ended(before)
            assert (job.state, job.reason) == ("aborted", "the agent of killed was restarted while it ran")
            assert "what was stored is not sent again" in job.hint
            assert all(step["state"] in {"done", "aborted"} for step in job.steps), job.steps
        before = rig.back_up(set_id)
        if place:
            assert agent.running.wait(60) == -9, place
            stored.append(sum(rig.packs().values()))
    job = rig.ended(before)
    assert (job.state, job.reason) == ("succeeded", "")
    assert [step["name"] for step in job.steps] == list(STEPS)
    assert stored[_PLACES.index("put packs end 1")] > 30 << 20
    assert job.figures["stored_bytes"] < 1 << 20
    assert rig.blobs_stored_twice(agent) == []
    assert restored(rig, agent, job.restore_point_id, source, tmp_path / "restored") == ""


@pytest.mark.parametrize("place", ["put manifests end", "outcome start"])
def test_killed_after_the_commit(rig: FleetRig, small_source: Path, place: str) -> None:
    """A restore point that was committed makes the job succeed, though nobody could say so."""
    name = f"committed-{place.replace(' ', '-')}"
    agent = rig.started(name, Seam(kill_at=place))
    set_id = rig.set_of(agent, [small_source])
    rig.until_connected(agent)
    number = rig.back_up(set_id)
    assert agent.running.wait(60) == -9
    agent.start()
    job = rig.ended(number)
    assert (job.state, job.reason) == ("succeeded", "")
    assert job.restore_point_id
    assert any("went away after the restore point was committed" in text for text in rig.messages(number))
    rig.until_connected(agent)
    following = rig.ended(rig.back_up(set_id))
    assert (following.state, following.figures["type"]) == ("succeeded", "incremental")


def test_the_machine_restarts(rig: FleetRig, small_source: Path) -> None:
    """Another boot id is told apart from another process, and a policy may want a fresh backup at once."""
    agent = rig.started("rebooted", Seam(kill_at=f"{TRANSMIT} start", boot_id="boot-1"))
    set_id = rig.set_of(agent, [small_source], policy={"restart_after_abort": True})
    rig.until_connected(agent)
    number = rig.back_up(set_id)
    assert agent.running.wait(60) == -9
    agent.start(Seam(boot_id="boot-2"))
    job = rig.ended(number)
    assert (job.state, job.reason) == ("aborted", "the file server rebooted was restarted while it ran")
    again = next(one for one in rig.jobs() if one.backup_set_id == set_id and one.id > number)
    assert again.trigger == Trigger.RESTART.value
    assert rig.ended(again.id).state == "succeeded"


def test_stopped_in_order(rig: FleetRig, tmp_path: Path) -> None:
    """SIGTERM ends the backup as aborted at once, its steps closed and its progress kept."""
    agent = rig.started("stopped", Seam(pause_at=("put packs end 1",)))
    # More than is read ahead while the first two packs wait.
    set_id = rig.set_of(agent, [fill(tmp_path / "source", 160, 5)])
    rig.until_connected(agent)
    number = rig.back_up(set_id)
    agent.until_paused()
    agent.running.process.terminate()
    agent.go_on()
    assert agent.running.wait(15) == 0
    job = rig.job(number)
    assert (job.state, job.reason) == ("aborted", "the agent was stopped")
    assert {step["name"]: step["state"] for step in job.steps} == {
        **dict.fromkeys((REQUEST, TYPE, RECOVERY_POINT, ESTIMATE, CLEAN_UP), "done"),
        TRANSMIT: "cancelled",
    }
    agent.start()
    rig.until_connected(agent)
    assert rig.ended(rig.back_up(set_id)).state == "succeeded"
    assert rig.blobs_stored_twice(agent) == []


def test_an_idle_agent_stops_at_once(rig: FleetRig) -> None:
    """The question for work that the server holds open delays no stop."""
    agent = rig.started("idle", Seam(poll_seconds=25))
    rig.until_connected(agent)
    assert agent.running.process.poll() is None
    agent.running.process.terminate()
    assert agent.running.wait(5) == 0
