"""Server processes share one PostgreSQL: no scheduled time asks twice, no job runs twice, whoever dies."""

import subprocess
import sys
import time
from collections import Counter
from datetime import timedelta
from pathlib import Path

from sqlalchemy import func, select
from tests.server.fleet_of_agents import plain_sets

from backstay.server.database import Database
from backstay.server.tables import BackupSetRow, JobMessage, JobRow
from backstay.testing.postgres import PostgresServer
from backstay.testing.scheduler_worker import hastened

SPEED = 600.0
"""Ten minutes a second."""
SETS = 20
EVERY = timedelta(minutes=10)


def _start(folder: Path, url: str, began: float, seed: int) -> subprocess.Popen[bytes]:
    arguments = [str(folder), url, str(began), str(SPEED), str(seed)]
    return subprocess.Popen(
        [sys.executable, "-m", "backstay.testing.scheduler_worker", *arguments], stderr=subprocess.PIPE
    )


def test_two_processes_share_the_schedule_and_one_is_killed(
    postgres: PostgresServer, postgres_prototype: str, tmp_path: Path
) -> None:
    """Both ask and hand out; one is killed in the middle, another one comes: each time asks once."""
    url = postgres.new_database(like=postgres_prototype)
    database = Database(url)
    began = time.time()
    with database.begin() as db:
        plain_sets(db, SETS, rule="*/10 * * * *", now=hastened(began, SPEED))
    workers = [_start(tmp_path, url, began, seed) for seed in (1, 2)]
    try:
        _until(database, at_least=SETS * 2)
        workers[0].kill()
        seen = _count(database)
        _until(database, at_least=seen + SETS)
        workers.append(_start(tmp_path, url, began, 3))
        _until(database, at_least=seen + SETS * 3)
        assert workers[1].poll() is None
    finally:
        for worker in workers:
            worker.kill()
        errors = [worker.communicate()[1] for worker in workers]
    assert errors == [b""] * 3
    with database.read() as db:
        jobs = db.scalars(select(JobRow)).all()
        taken = Counter(db.scalars(select(JobMessage.job_id).where(JobMessage.text.startswith("taken by"))))
        sets = db.scalars(select(BackupSetRow)).all()
    database.close()
    asked = Counter((job.backup_set_id, job.scheduled_for) for job in jobs)
    assert set(asked.values()) == {1}
    assert set(taken.values()) == {1}
    assert all(job.lease_epoch <= 1 for job in jobs)
    assert {job.state for job in jobs} <= {
        "succeeded",
        "queued",
        "waiting_for_agent",
        "skipped",
        "running",
        "aborted",
    }
    # Whoever was killed held one job at most.
    assert sum(job.state in {"running", "aborted"} for job in jobs) <= len(workers)
    for one in sets:
        assert one.scheduled_until is not None
        times = sorted(job.scheduled_for for job in jobs if job.backup_set_id == one.id and job.scheduled_for)
        assert one.scheduled_until - times[-1] < EVERY


def _count(database: Database) -> int:
    with database.read() as db:
        return db.scalar(select(func.count()).select_from(JobRow)) or 0


def _until(database: Database, *, at_least: int) -> None:
    ends = time.monotonic() + 60
    while _count(database) < at_least:
        assert time.monotonic() < ends, "no more jobs come"
        time.sleep(0.1)
