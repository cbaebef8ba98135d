"""What agents say again and again and that changes nothing: that they are there, and how far a job is.

Each alone would be a transaction with a flush to the disk of its own, in line with those that matter: a
thousand agents and fifty backups say some seventy such things a second. They are gathered here and written
together, once a second. A process that dies loses one second of them, and the agents say it all again.

What an administrator, another process or a later report may rely upon never comes here: a state, a step, a
line of the log, an outcome, who speaks for a file server. See docs/decisions/0020-load.md.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Float, Table, bindparam, func, update

from backstay.protocol.report import ProgressReport, StepReport
from backstay.server.database import Database
from backstay.server.tables import FileServer, JobRow

WRITTEN_EVERY_SECONDS = 1.0
_FORGOTTEN = timedelta(minutes=10)

_servers, _jobs = FileServer.__table__, JobRow.__table__
assert isinstance(_servers, Table)
assert isinstance(_jobs, Table)
_HEARD = (
    update(_servers)
    .where(_servers.c.id == bindparam("server"))
    .values(
        last_seen_at=bindparam("at"),
        clock_offset=func.coalesce(bindparam("ahead", type_=Float), _servers.c.clock_offset),
    )
)
# Whoever lost the job meanwhile changes nothing any more.
_PROGRESS = (
    update(_jobs)
    .where(
        _jobs.c.id == bindparam("job"),
        _jobs.c.state == "running",
        _jobs.c.lease_epoch == bindparam("epoch"),
        _jobs.c.leased_to == bindparam("instance"),
    )
    .values(progress=bindparam("how_far"), leased_until=bindparam("until"), revision=_jobs.c.revision + 1)
)


@dataclass(frozen=True)
class Held:
    """A job under one lease."""

    job: int
    epoch: int
    instance: str


@dataclass
class _Known:
    """What a job's last report that was written said."""

    steps: Sequence[StepReport]
    lease: timedelta
    at: datetime


@dataclass
class SmallTalk:
    """Of one server process. Safe to use from several threads.

    Args:
        at_once: nobody calls `write` again and again, so it is written when it is said.
    """

    database: Database
    at_once: bool = False
    _heard: dict[int, tuple[datetime, float | None]] = field(default_factory=dict)
    _progress: dict[Held, tuple[ProgressReport, datetime]] = field(default_factory=dict)
    _known: dict[Held, _Known] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _writing: threading.Lock = field(default_factory=threading.Lock)

    def heard(self, file_server_id: int, now: datetime, *, clock_ahead: float | None = None) -> None:
        """The agent of a file server is there.

        Args:
            clock_ahead: seconds by which its clock is ahead of ours, if it said its time.
        """
        with self._lock:
            if clock_ahead is None:
                clock_ahead = self._heard.get(file_server_id, (now, None))[1]
            self._heard[file_server_id] = now, clock_ahead
        if self.at_once:
            self.write()

    def written(self, held: Held, steps: Sequence[StepReport], lease: timedelta, now: datetime) -> None:
        """A report was written: one that says no more than how far it is needs not be, until steps change.

        Args:
            lease: how long the job is held by each report.
        """
        with self._lock:
            self._known[held] = _Known(steps, lease, now)

    def says_nothing_new(self, held: Held, steps: Sequence[StepReport]) -> bool:
        """Whether these are the steps that were written."""
        with self._lock:
            known = self._known.get(held)
        return known is not None and known.steps == steps

    def progress(self, held: Held, progress: ProgressReport, now: datetime) -> None:
        """How far a job is that `says_nothing_new`; its lease is renewed along with it."""
        with self._lock:
            if held in self._known:
                self._known[held].at = now
                self._progress[held] = progress, now
        if self.at_once:
            self.write()

    def write(self) -> bool:
        """Write what was gathered; whether any job went on. Raises ServerError; then nothing is lost."""
        with self._writing:
            with self._lock:
                heard, self._heard = self._heard, {}
                progress, self._progress = self._progress, {}
                moved = [
                    _moved(held, known, *said)
                    for held, said in progress.items()
                    if (known := self._known.get(held)) is not None
                ]
            try:
                self._write(_HEARD, [_row(number, *said) for number, said in heard.items()])
                self._write(_PROGRESS, moved)
            except BaseException:
                with self._lock:
                    self._heard = heard | self._heard
                    self._progress = progress | self._progress
                raise
            with self._lock:
                self._forget()
        return bool(moved)

    def _forget(self) -> None:
        newest = max((known.at for known in self._known.values()), default=None)
        if newest is not None:
            held = self._known.items()
            self._known = {key: known for key, known in held if newest - known.at < _FORGOTTEN}

    def _write(self, statement: Any, rows: list[dict[str, Any]]) -> None:
        if rows:
            # In one order, so that two processes that write the same rows do not wait for each other.
            rows.sort(key=lambda row: row.get("server") or row["job"])
            with self.database.begin() as db:
                db.connection().execute(statement, rows)


def _row(file_server_id: int, at: datetime, ahead: float | None) -> dict[str, Any]:
    return {"server": file_server_id, "at": at, "ahead": ahead}


def _moved(held: Held, known: _Known, progress: ProgressReport, at: datetime) -> dict[str, Any]:
    return {
        "job": held.job,
        "epoch": held.epoch,
        "instance": held.instance,
        "how_far": progress.model_dump(mode="json"),
        "until": at + known.lease,
    }
