"""A small estate for tests of what watches it: file servers, sets, policies and jobs that really happened."""

import json
from datetime import datetime
from typing import Any

from tests.server.conftest import MovableClock

from backstay.domain.job import JobState, Trigger
from backstay.protocol.report import Outcome, ProblemReport
from backstay.server import alerts, job_queue
from backstay.server.access import SYSTEM, Actor
from backstay.server.control import Control
from backstay.server.repositories import default_repository
from backstay.server.sign_in import hash_of
from backstay.server.tables import AlertRow, BackupSetRow, FileServer, JobRow, PolicyRow

NIGHTLY = {"schedules": [{"rule": "0 22 * * *", "time_zone": "UTC"}]}
ADMIN = Actor("ada", SYSTEM.permissions)


class Estate:
    """Makes things, and lets time pass: agents that are well are heard of all the while."""

    def __init__(self, control: Control, clock: MovableClock) -> None:
        self.control = control
        self.clock = clock
        self.well: set[int] = set()

    def file_server(self, name: str = "fs1", *, well: bool = True) -> int:
        """A file server with an enrolled agent."""
        with self.control.database.begin() as db:
            row = FileServer(
                name=name,
                agent_key_hash=hash_of(f"secret-{name}"),
                instance=f"instance-{name}",
                machine_id=f"machine-{name}",
                boot_id=f"boot-{name}",
                address="127.0.0.2",
                created_at=self.clock(),
                enrolled_at=self.clock(),
                last_seen_at=self.clock(),
            )
            db.add(row)
            db.flush()
            if well:
                self.well.add(row.id)
            return row.id

    def policy(self, name: str = "nightly", values: dict[str, Any] | None = None) -> int:
        """A policy."""
        with self.control.database.begin() as db:
            row = PolicyRow(
                name=name,
                values=NIGHTLY if values is None else values,
                created_at=self.clock(),
                updated_at=self.clock(),
            )
            db.add(row)
            db.flush()
            return row.id

    def backup_set(self, server: int, policy: int | None, name: str = "data") -> int:
        """A backup set."""
        with self.control.database.begin() as db:
            repository = default_repository(db)
            assert repository is not None
            row = BackupSetRow(
                file_server_id=server,
                repository_id=repository.id,
                policy_id=policy,
                name=name,
                paths=["/srv"],
                created_at=self.clock(),
                updated_at=self.clock(),
            )
            db.add(row)
            db.flush()
            return row.id

    def backup(self, set_id: int, *, scheduled_for: datetime | None = None) -> int:
        """A backup that the set's agent runs at once; end it with `end`."""
        now = self.clock()
        with self.control.database.begin() as db:
            row = db.get_one(BackupSetRow, set_id)
            row.file_server.last_seen_at = now
            job = job_queue.request_backup(
                db, row, now=now, trigger=Trigger.SCHEDULE, requested_by="test", scheduled_for=scheduled_for
            )
            return self.lease(db, job)

    @staticmethod
    def lease(db: Any, job: JobRow) -> int:
        """Let the agent take the job."""
        assert job.file_server is not None
        now = job.file_server.last_seen_at
        assert now is not None
        taken = job_queue.lease_for_agent(db, job.file_server, job.file_server.instance, now)
        assert taken is job
        return job.id

    def end(
        self, job_id: int, state: str = "succeeded", *, problems: tuple[bytes, ...] = (), **said: Any
    ) -> None:
        """Let a job end as its agent says."""
        with self.control.database.begin() as db:
            job = job_queue.get_job(db, job_id)
            outcome = Outcome.model_validate(
                {
                    "epoch": job.lease_epoch,
                    "state": state,
                    "problems": [ProblemReport(path=path, reason="busy") for path in problems],
                    **said,
                }
            )
            job_queue.finish(db, job, outcome, self.clock())

    def skip(self, set_id: int, *, scheduled_for: datetime, reason: str) -> None:
        """A scheduled job whose window closed."""
        with self.control.database.begin() as db:
            row = db.get_one(BackupSetRow, set_id)
            job = job_queue.request_backup(
                db,
                row,
                now=self.clock(),
                trigger=Trigger.SCHEDULE,
                requested_by="the schedule",
                scheduled_for=scheduled_for,
            )
            job_queue.set_state(db, job, JobState.SKIPPED, self.clock(), reason=reason)

    def forward(self, **by: float) -> None:
        """Let time pass."""
        self.clock.forward(**by)
        with self.control.database.begin() as db:
            for number in self.well:
                db.get_one(FileServer, number).last_seen_at = self.clock()

    def look(self) -> dict[str, str]:
        """Look for causes now; the texts of what is active, by kind."""
        self.clock.forward(seconds=15)
        alerts.evaluate(self.control)
        return {row.kind: row.text for row in self.active()}

    def active(self) -> list[AlertRow]:
        """The active alerts, the newest first."""
        with self.control.database.read() as db:
            return alerts.list_alerts(db, active=True, limit=1000)[0]


def as_json(value: object) -> str:
    """For comparing what was said."""
    return json.dumps(value, sort_keys=True, default=str)
