"""What the database knows of all servers and file servers, as Prometheus reads it."""

import threading
import time
from collections.abc import Iterable, Iterator
from datetime import timedelta
from pathlib import Path

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from sqlalchemy import func, select, text
from sqlalchemy.engine import make_url
from sqlalchemy.orm import Session

from backstay.domain.job import GOOD_STATES, OPEN_STATES, JobKind, JobState
from backstay.server import alerts, fleet
from backstay.server.control import Control
from backstay.server.tables import (
    BackupSetRow,
    FileServer,
    JobRow,
    NotificationChannel,
    RepositoryFigures,
    RepositoryRow,
    RestorePointRow,
)

_DAY = timedelta(days=1)
_OPEN = [state.value for state in OPEN_STATES]
_WAITING = {JobState.QUEUED.value, JobState.WAITING_FOR_AGENT.value}
_KEPT_SECONDS = 10.0


class EstateCollector(Collector):
    """Reads the database at most every ten seconds, however many ask."""

    def __init__(self, control: Control) -> None:
        self._control = control
        self._lock = threading.Lock()
        self._kept: list[Metric] = []
        self._kept_at = float("-inf")

    def describe(self) -> Iterable[Metric]:
        """Nothing: registering it must not ask the database."""
        return []

    def collect(self) -> Iterator[Metric]:
        """All families."""
        with self._lock:
            if time.monotonic() - self._kept_at > _KEPT_SECONDS:
                with self._control.database.read() as db:
                    self._kept = list(_families(self._control, db))
                self._kept_at = time.monotonic()
            kept = self._kept
        yield from kept


def _families(control: Control, db: Session) -> Iterator[Metric]:
    began = time.perf_counter()
    db.execute(select(1))
    yield _gauge(
        "backstay_database_round_trip_seconds",
        "Time of one question and answer.",
        time.perf_counter() - began,
    )
    yield _gauge("backstay_database_bytes", "How large the database is.", _database_bytes(control, db))
    yield from _jobs(control, db)
    yield from _agents(control, db)
    yield from _sets(control, db)
    yield from _storage(control, db)
    active = GaugeMetricFamily("backstay_alerts", "Active alerts.", labels=["kind", "severity"])
    for (kind, severity), count in alerts.counts(db).items():
        active.add_metric([kind.value, severity.value], count)
    yield active
    failing = GaugeMetricFamily(
        "backstay_notification_channel_failing",
        "1 where a channel does not take messages.",
        labels=["channel"],
    )
    for name, since in db.execute(
        select(NotificationChannel.name, NotificationChannel.failing_since).where(NotificationChannel.enabled)
    ):
        failing.add_metric([name], 0 if since is None else 1)
    yield failing


def _gauge(name: str, what: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, what, value=value)


def _jobs(control: Control, db: Session) -> Iterator[Metric]:
    is_open = GaugeMetricFamily(
        "backstay_jobs", "Jobs that have not ended, by kind and state.", labels=["kind", "state"]
    )
    counted = {
        (kind, state): count
        for kind, state, count in db.execute(
            select(JobRow.kind, JobRow.state, func.count())
            .where(JobRow.state.in_(_OPEN))
            .group_by(JobRow.kind, JobRow.state)
        )
    }
    for job_kind in JobKind:
        for open_state in sorted(OPEN_STATES):
            is_open.add_metric(
                [job_kind.value, open_state.value], counted.get((job_kind.value, open_state.value), 0)
            )
    yield is_open
    waiting = sum(count for (_, state), count in counted.items() if state in _WAITING)
    yield _gauge("backstay_queue_length", "Jobs that nobody runs yet.", waiting)
    ended = GaugeMetricFamily(
        "backstay_jobs_last_day",
        "Jobs asked for within 24 hours that have ended, by kind and state.",
        labels=["kind", "state"],
    )
    for kind, state, count in db.execute(
        select(JobRow.kind, JobRow.state, func.count())
        .where(JobRow.created_at > control.clock() - _DAY, JobRow.state.not_in(_OPEN))
        .group_by(JobRow.kind, JobRow.state)
    ):
        ended.add_metric([kind, state], count)
    yield ended


def _agents(control: Control, db: Session) -> Iterator[Metric]:
    enrolled = (
        select(func.count())
        .select_from(FileServer)
        .where(FileServer.agent_key_hash.is_not(None), FileServer.removed_at.is_(None))
    )
    yield _gauge("backstay_agents_enrolled", "Agents that may connect.", db.scalar(enrolled) or 0)
    since = control.clock() - fleet.CONNECTED_WITHIN
    connected = db.scalar(enrolled.where(FileServer.last_seen_at > since)) or 0
    yield _gauge("backstay_agents_connected", "Agents that were heard of lately.", connected)


def _sets(control: Control, db: Session) -> Iterator[Metric]:
    good = (
        select(JobRow.ended_at)
        .where(
            JobRow.backup_set_id == BackupSetRow.id,
            JobRow.kind == JobKind.BACKUP.value,
            JobRow.state.in_([state.value for state in GOOD_STATES]),
        )
        .order_by(JobRow.created_at.desc())
        .limit(1)
        .correlate(BackupSetRow)
        .scalar_subquery()
    )
    age = GaugeMetricFamily(
        "backstay_set_last_success_age_seconds",
        "How long ago the last good backup of a set ended; infinite where there was none.",
        labels=["file_server", "backup_set"],
    )
    now = control.clock()
    for server, name, ended_at in db.execute(
        select(FileServer.name, BackupSetRow.name, good)
        .join(FileServer, FileServer.id == BackupSetRow.file_server_id)
        .where(
            BackupSetRow.enabled.is_(True),
            BackupSetRow.removed_at.is_(None),
            FileServer.removed_at.is_(None),
        )
    ):
        seconds = (now - ended_at).total_seconds() if ended_at is not None else float("inf")
        age.add_metric([server, name], seconds)
    yield age


def _storage(control: Control, db: Session) -> Iterator[Metric]:
    done = db.execute(
        select(
            func.sum(RestorePointRow.read_bytes),
            func.sum(RestorePointRow.new_bytes),
            func.sum(RestorePointRow.stored_bytes),
        ).where(RestorePointRow.committed_at > control.clock() - _DAY)
    ).one()
    moved = GaugeMetricFamily(
        "backstay_backup_bytes_last_day",
        "Bytes of the backups of 24 hours: read, new, and stored after compression.",
        labels=["what"],
    )
    for what, amount in zip(("read", "new", "stored"), done, strict=True):
        moved.add_metric([what], float(amount or 0))
    yield moved
    families = {
        "stored_bytes": "What the repository takes.",
        "source_bytes": "What its restore points would take if each were a plain copy.",
        "free_bytes": "Room that its storage has left, where that is known.",
        "packs": "Its packs.",
        "restore_points": "Its restore points.",
    }
    made = {
        name: GaugeMetricFamily(f"backstay_repository_{name}", what, labels=["repository"])
        for name, what in families.items()
    }
    for repository in db.scalars(select(RepositoryRow)):
        figures = db.scalars(
            select(RepositoryFigures)
            .where(RepositoryFigures.repository_id == repository.id)
            .order_by(RepositoryFigures.at.desc())
            .limit(1)
        ).first()
        if figures is None:
            continue
        for name, family in made.items():
            value = getattr(figures, name)
            if value is not None:
                family.add_metric([repository.name], value)
    yield from made.values()


def _database_bytes(control: Control, db: Session) -> int:
    if not control.database.is_sqlite:
        return int(db.scalar(text("SELECT pg_database_size(current_database())")) or 0)
    path = Path(make_url(control.database.url).database or "")
    return sum(part.stat().st_size for part in (path, path.with_name(path.name + "-wal")) if part.exists())
