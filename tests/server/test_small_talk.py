"""What agents say again and again: gathered, written together, and never at the cost of what matters."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import event
from tests.server.conftest import MovableClock, token_for
from tests.server.fleet_of_agents import Fleet

from backstay.domain.errors import ServerError
from backstay.protocol.report import ProgressReport
from backstay.server import job_queue
from backstay.server.access import Role
from backstay.server.app import create_app
from backstay.server.control import Control
from backstay.server.database import Database
from backstay.server.small_talk import Held, SmallTalk
from backstay.server.tables import JobRow
from backstay.testing.protocol_agent import ProtocolAgent, step


class _Process:
    """A server process that gathers small talk, and an administrator's way to it."""

    def __init__(self, control: Control) -> None:
        self.control = replace(control, small_talk=SmallTalk(control.database))
        self.client = TestClient(create_app(self.control), raise_server_exceptions=False)
        self.client.headers["Authorization"] = f"Bearer {token_for(control, Role.ADMINISTRATOR)}"

    def job(self, number: int) -> JobRow:
        """The job as it is in the database."""
        with self.control.database.read() as db:
            return job_queue.get_job(db, number)


@pytest.fixture
def process(control: Control) -> Iterator[_Process]:
    """One that answers."""
    made = _Process(control)
    with made.client:
        yield made


@contextmanager
def _written(control: Control) -> Iterator[list[str]]:
    """Statements that change something meanwhile."""
    found: list[str] = []

    def note(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        if statement.lstrip().upper().startswith(("INSERT", "UPDATE", "DELETE")):
            found.append(statement)

    event.listen(control.database.engine, "before_cursor_execute", note)
    try:
        yield found
    finally:
        event.remove(control.database.engine, "before_cursor_execute", note)


def _running(process: _Process, name: str = "fs") -> tuple[ProtocolAgent, dict[str, Any]]:
    fleet = Fleet(process.client)
    agent = fleet.agent(name)
    number = fleet.backup_set(agent)["id"]
    assert process.client.post(f"/api/v1/backup-sets/{number}/backup").status_code == 201
    ticket = agent.lease()
    assert ticket is not None
    return agent, ticket


def _progress(files: int) -> dict[str, Any]:
    return {"step": "transmit", "files": files}


def test_what_changes_nothing_waits_to_be_written(process: _Process, clock: MovableClock) -> None:
    """Reports of progress and questions for work write nothing by themselves; one write tells them all."""
    agent, ticket = _running(process)
    steps = [step("transmit", "running")]
    agent.report(ticket, steps=steps, progress=_progress(1))
    before = process.job(ticket["job"])
    clock.forward(seconds=2)
    with _written(process.control) as written:
        for files in range(2, 12):
            assert agent.report(ticket, steps=steps, progress=_progress(files))["verdict"] == "go_on"
            agent.lease(room=0)
    assert written == []
    assert process.control.small_talk.write()
    job = process.job(ticket["job"])
    assert job.progress["files"] == 11
    assert job.revision > before.revision
    assert before.leased_until is not None
    assert job.leased_until == before.leased_until + timedelta(seconds=2)
    shown = process.client.get(f"/api/v1/file-servers/{agent.file_server_id}").json()
    assert shown["last_seen_at"].startswith(clock().strftime("%Y-%m-%dT%H:%M:%S"))
    assert not process.control.small_talk.write()


def test_what_matters_is_written_before_it_is_answered(process: _Process) -> None:
    """A step, a line of the log, a cancellation and an outcome never wait."""
    agent, ticket = _running(process)
    agent.report(ticket, steps=[step("scan", "running")])
    agent.report(ticket, steps=[step("scan", "done")])
    assert [(one["name"], one["state"]) for one in process.job(ticket["job"]).steps][-1] == ("scan", "done")
    agent.report(ticket, steps=[step("scan", "done")], messages=["half of it"])
    log = process.client.get(f"/api/v1/jobs/{ticket['job']}/messages").json()
    assert "half of it" in str(log)
    steps = [step("transmit", "running")]
    agent.report(ticket, steps=steps)
    assert process.client.post(f"/api/v1/jobs/{ticket['job']}/cancel").status_code == 200
    assert agent.report(ticket, steps=steps)["verdict"] == "cancel"
    assert agent.outcome(ticket, "cancelled")["state"] == "cancelled"
    process.control.small_talk.write()
    assert process.job(ticket["job"]).state == "cancelled"


def test_who_lost_the_job_meanwhile_changes_nothing(process: _Process) -> None:
    """Progress that waits to be written when the job is given up, or leased anew, is not written."""
    agent, ticket = _running(process)
    steps = [step("transmit", "running")]
    for files in (1, 2):
        agent.report(ticket, steps=steps, progress=_progress(files))
    agent.restarted().lease(room=0)
    process.control.small_talk.write()
    job = process.job(ticket["job"])
    assert (job.state, job.progress["files"], job.leased_until) == ("aborted", 1, None)
    assert agent.report(ticket, steps=steps, progress=_progress(3))["verdict"] == "lost"


def test_heard_by_one_process_is_there_for_all(process: _Process, clock: MovableClock) -> None:
    """An agent that asks one server process counts as running for the others when that one has written."""
    other = _Process(process.control)
    fleet = Fleet(process.client)
    agent = fleet.agent("fs")
    number = fleet.backup_set(agent)["id"]
    with other.client:
        clock.forward(minutes=5)
        agent.lease()
        shown = other.client.get(f"/api/v1/file-servers/{agent.file_server_id}").json()
        assert not shown["connected"]
        process.control.small_talk.write()
        shown = other.client.get(f"/api/v1/file-servers/{agent.file_server_id}").json()
        assert shown["connected"]
        answer = other.client.post(f"/api/v1/backup-sets/{number}/backup")
        assert (answer.status_code, answer.json()["state"]) == (201, "queued")


def test_what_cannot_be_written_is_kept(process: _Process, clock: MovableClock, tmp_path: Path) -> None:
    """When the database fails, what was gathered is written later."""
    agent, ticket = _running(process)
    talk = process.control.small_talk
    steps = [step("transmit", "running")]
    for files in (1, 2):
        agent.report(ticket, steps=steps, progress=_progress(files))
    clock.forward(minutes=1)
    held = Held(ticket["job"], ticket["epoch"], agent.instance)
    talk.progress(held, ProgressReport(files=3), clock())
    good, talk.database = talk.database, Database(str(tmp_path / "there" / "is" / "nothing.db"))
    with pytest.raises(ServerError):
        talk.write()
    talk.database = good
    assert talk.write()
    assert process.job(ticket["job"]).progress["files"] == 3
