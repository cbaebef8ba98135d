"""Upkeep on schedule: asked for once, whoever looks; taken up again when whoever ran it was killed."""

import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select
from tests.server.conftest import MovableClock
from tests.server.upkeep_rig import Protected, repository_id_of, run_job

from backstay.domain.job import JobKind
from backstay.repository.session import list_sessions
from backstay.server import figures, job_queue, server_jobs, upkeep_schedule
from backstay.server.access import SYSTEM
from backstay.server.control import Control
from backstay.server.database import Database
from backstay.server.tables import JobRow, RepositoryFigures
from backstay.server.worker_process import WorkerProcess

FIRST_PRUNE = datetime(2026, 11, 26, 3, 30, tzinfo=UTC)


@pytest.fixture
def other(control: Control) -> Iterator[Control]:
    """Another server process on the same database."""
    database = Database(control.settings.database_url)
    yield replace(control, database=database, instance="other", stopping=threading.Event())
    database.close()


def _jobs(control: Control, kind: JobKind = JobKind.PRUNE) -> list[JobRow]:
    with control.database.read() as db:
        return list(db.scalars(select(JobRow).where(JobRow.kind == kind.value).order_by(JobRow.id)))


def test_what_is_due_is_asked_for_once_by_many_servers(
    control: Control, other: Control, clock: MovableClock
) -> None:
    """Eight looks at once from two servers make one prune job, and none before its time or again after it."""
    assert upkeep_schedule.look(control) == []
    clock.now = FIRST_PRUNE
    threads = [
        threading.Thread(target=upkeep_schedule.look, args=(each,))
        for each in (control, other)
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [(job.trigger, job.state) for job in _jobs(control)] == [("schedule", "queued")]
    clock.forward(hours=1)
    assert upkeep_schedule.look(other) == []


def test_one_job_is_run_by_one_server(control: Control, other: Control, clock: MovableClock) -> None:
    """Two servers that look for work at once run a job once."""
    with control.database.begin() as db:
        job = upkeep_schedule.request_job(
            db, SYSTEM, JobKind.VERIFY, repository_id_of(control), now=clock(), request={}
        )
    ran: list[bool] = []
    threads = [
        threading.Thread(target=lambda each=each: ran.append(server_jobs.run_next(each)))
        for each in (control, other)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(ran) == [False, True]
    with control.database.read() as db:
        assert job_queue.get_job(db, job.id).lease_epoch == 1


def test_a_job_of_a_killed_server_is_ended_and_asked_for_again(
    control: Control, other: Control, clock: MovableClock
) -> None:
    """The lease runs out, the job is aborted with the reason, and another follows that succeeds."""
    upkeep_schedule.look(control)
    clock.now = FIRST_PRUNE
    upkeep_schedule.look(control)
    with control.database.begin() as db:
        assert job_queue.lease_for_server(db, "killed", clock()) is not None
    clock.forward(minutes=3)
    with other.database.begin() as db:
        job_queue.reap(db, clock())
    lost = _jobs(other)[0]
    assert (lost.state, lost.reason) == (
        "aborted",
        "nothing was heard of the server process that ran it for too long",
    )
    assert upkeep_schedule.look(other) == []
    clock.forward(minutes=5)
    (again,) = upkeep_schedule.look(other)
    assert run_job(other, again).state == "succeeded"
    clock.forward(minutes=30)
    assert upkeep_schedule.look(other) == []


def test_the_schedule_can_be_changed_and_switched_off(
    control: Control, client: TestClient, clock: MovableClock
) -> None:
    """A new rule counts from now on; null means never; nonsense is refused with a hint."""
    answer = client.patch("/api/v1/upkeep/schedules", json={"prune": None, "drill": {"rule": "@hourly"}})
    assert answer.json()["prune"] is None
    upkeep_schedule.look(control)
    clock.forward(days=2)
    upkeep_schedule.look(control)
    assert _jobs(control) == []
    assert len(_jobs(control, JobKind.DRILL)) == 1
    wrong = client.patch("/api/v1/upkeep/schedules", json={"prune": {"rule": "at noon"}})
    assert (wrong.status_code, bool(wrong.json()["hint"])) == (422, True)


def test_a_second_job_of_a_kind_is_refused_while_one_is_open(control: Control, client: TestClient) -> None:
    """Whoever asks by hand hears which job does it already; an auditor may not ask."""
    base = f"/api/v1/repositories/{repository_id_of(control)}"
    assert client.post(f"{base}/prune", json={}).status_code == 202
    again = client.post(f"{base}/prune", json={})
    assert again.status_code == 409
    assert "job 1" in again.json()["detail"]
    assert client.post("/api/v1/repositories/" + "0" * 32 + "/prune", json={}).status_code == 404


def test_a_job_is_cancelled(control: Control, client: TestClient) -> None:
    """A job that somebody cancelled ends as cancelled, by whom it says, and the next one runs."""
    base = f"/api/v1/repositories/{repository_id_of(control)}"
    number = client.post(f"{base}/prune", json={}).json()["job"]
    with control.database.begin() as db:
        job_queue.get_job(db, number).cancel_requested_by = "somebody"
    job = run_job(control, number)
    assert (job.state, job.reason) == ("cancelled", "cancelled by somebody")
    again = client.post(f"{base}/prune", json={}).json()["job"]
    assert run_job(control, again).state == "succeeded"


def test_a_server_that_is_about_to_end_begins_nothing(
    control: Control, other: Control, client: TestClient
) -> None:
    """The job stays for another server, which runs it."""
    base = f"/api/v1/repositories/{repository_id_of(control)}"
    number = client.post(f"{base}/verify", json={}).json()["job"]
    control.stopping.set()
    assert not server_jobs.run_next(control)
    assert run_job(other, number).state == "succeeded"


def test_figures_are_noted_once_an_hour(
    control: Control, other: Control, client: TestClient, clock: MovableClock, tmp_path: Path
) -> None:
    """Two servers note one row an hour, and the API shows the growth."""
    protected = Protected.new(control, tmp_path)
    protected.write("file", bytes(range(256)) * 100)
    for _ in range(3):
        figures.note_all(control)
        figures.note_all(other)
        clock.forward(hours=1)
    protected.back_up()
    figures.note_all(other)
    with control.database.read() as db:
        assert len(db.scalars(select(RepositoryFigures)).all()) == 4
    base = f"/api/v1/repositories/{repository_id_of(control)}"
    rows = client.get(f"{base}/figures").json()
    assert [row["restore_points"] for row in rows] == [0, 0, 0, 1]
    assert rows[-1]["source_bytes"] == 25_600
    assert rows[-1]["stored_bytes"] > 0
    assert rows[-1]["free_bytes"] > 0
    assert client.get(base).json()["figures"]["packs"] == rows[-1]["packs"]


def _start_prune(control: Control) -> WorkerProcess:
    """A prune's worker that waits for an answer."""
    repository_id = repository_id_of(control)
    repository = control.repositories.get(repository_id)
    cache = control.settings.folder / "cache"
    worker = WorkerProcess(repository, control.settings.storage_location, cache, "prune", {})
    while (message := worker.receive(20)) is not None and message["kind"] != "ask":
        pass
    assert message is not None
    return worker


def test_a_worker_stops_when_told_to_and_when_its_server_is_gone(control: Control) -> None:
    """Either way its session in the repository is ended, so that the next prune is not kept out."""
    storage = control.repositories.get(repository_id_of(control)).storage
    with _start_prune(control) as worker:
        worker.cancel("enough")
        message = worker.receive(20)
        assert message == {"kind": "cancelled", "reason": "enough"}
    with _start_prune(control):
        # Leaving closes the pipe, as a server that is killed does.
        pass
    assert list(list_sessions(storage))
    assert all(state.ended for state in list_sessions(storage).values())


def test_a_killed_worker_fails_its_job_and_keeps_nobody_out(control: Control, client: TestClient) -> None:
    """SIGKILL in the midst of a prune: the next prune ends the dead one's session and succeeds."""
    with _start_prune(control) as worker:
        os.kill(worker.pid, signal.SIGKILL)
        assert worker.receive(20) is None
    base = f"/api/v1/repositories/{repository_id_of(control)}"
    number = client.post(f"{base}/prune", json={}).json()["job"]
    assert run_job(control, number).state == "succeeded"
