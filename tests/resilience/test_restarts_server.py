"""The server restarts in the middle of a backup: the agent keeps working, and the job goes on."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from tests.resilience.conftest import fill

from backstay.backup.workflow import REQUEST, STEPS, TRANSMIT
from backstay.server.tables import FileServer, JobRow
from backstay.testing.agent_worker import Seam
from backstay.testing.fleet_rig import FleetRig, ServerPlace, same_tree
from backstay.testing.postgres import running_postgres


@pytest.fixture(scope="module")
def mortal_rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FleetRig]:
    """A server that may be killed."""
    with FleetRig(tmp_path_factory.mktemp("mortal")) as rig:
        yield rig


@pytest.fixture
def mortal(mortal_rig: FleetRig) -> Iterator[FleetRig]:
    """The same; a test's agents end with it."""
    yield mortal_rig
    mortal_rig.end_agents()


def test_killed_in_every_step(mortal: FleetRig, source: Path, tmp_path: Path) -> None:
    """However often the server dies, the backup goes on when it is back, and what it stored is right."""
    places = [f"{step} start" for step in STEPS if step != REQUEST]
    places += ["put packs start 2", "put index start", "put manifests start", "put manifests end"]
    agent = mortal.started("patient", Seam(pause_at=tuple(places)))
    set_id = mortal.set_of(agent, [source])
    mortal.until_connected(agent)
    number = mortal.back_up(set_id)
    for _ in places:
        agent.until_paused()
        mortal.server.kill()
        agent.go_on()
        mortal.server.start()
    job = mortal.ended(number)
    assert (job.state, job.reason) == ("succeeded", ""), mortal.messages(number)
    assert [(step["name"], step["state"]) for step in job.steps] == [(step, "done") for step in STEPS]
    assert mortal.blobs_stored_twice(agent) == []
    restore = mortal.ended(mortal.restore(agent, str(job.restore_point_id), tmp_path / "restored"))
    assert restore.state == "succeeded"
    assert same_tree(source, tmp_path / "restored" / source.relative_to("/")) == ""


def test_killed_on_postgresql(source: Path, tmp_path: Path) -> None:
    """Killed again and again while packs come in, it takes each of them once, and the job succeeds."""
    places = ("put packs start 1", "put packs end 2", "put manifests start")
    with running_postgres() as postgres:
        place = ServerPlace(tmp_path / "server", database=postgres.new_database())
        with FleetRig(tmp_path, place) as rig:
            agent = rig.started("storing", Seam(pause_at=places))
            set_id = rig.set_of(agent, [source])
            rig.until_connected(agent)
            number = rig.back_up(set_id)
            for _ in places:
                agent.until_paused()
                agent.go_on()
                rig.server.restart()
            job = rig.ended(number)
            assert (job.state, job.reason) == ("succeeded", ""), rig.messages(number)
            assert rig.blobs_stored_twice(agent) == []


def test_a_server_that_was_away_for_hours_gives_up_nobody(mortal: FleetRig, tmp_path: Path) -> None:
    """Leases that ran out while no server was there end no job: its agent is given time to come back."""
    agent = mortal.started("long", Seam(pause_at=(f"{TRANSMIT} start",)))
    set_id = mortal.set_of(agent, [fill(tmp_path / "source", 1, 1)])
    mortal.until_connected(agent)
    number = mortal.back_up(set_id)
    agent.until_paused()
    mortal.server.kill()
    ago = timedelta(hours=5)
    with mortal.control.database.begin() as db:
        job = db.get_one(JobRow, number)
        job.leased_until = mortal.control.clock() - ago
        db.get_one(FileServer, job.file_server_id).last_seen_at = mortal.control.clock() - ago
    mortal.server.start()
    agent.go_on()
    job = mortal.ended(number)
    assert (job.state, job.reason) == ("succeeded", "")


def test_in_order(mortal: FleetRig, tmp_path: Path) -> None:
    """SIGTERM ends the server soon although agents ask it for work, and it comes back for them."""
    agent = mortal.started("asking", Seam(poll_seconds=25))
    mortal.until_connected(agent)
    assert mortal.server.stop() == 0
    mortal.server.start()
    mortal.until_connected(agent)
    set_id = mortal.set_of(agent, [fill(tmp_path / "source", 1, 2)])
    assert mortal.ended(mortal.back_up(set_id)).state == "succeeded"
