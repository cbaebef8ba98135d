"""A process that schedules and hands out jobs as a server process does, in a time that passes faster.

    python -m backstay.testing.scheduler_worker FOLDER DATABASE BEGAN SPEED SEED

`BEGAN` is when the hastened time began, seconds since the epoch; a second takes `1 / SPEED` of one. It runs
until it is killed. Whatever job it leases for an agent it ends at once.
"""

import random
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import select

from backstay.protocol.report import Outcome
from backstay.server import job_queue, scheduler
from backstay.server.app import open_control
from backstay.server.control import Control
from backstay.server.settings import ServerSettings
from backstay.server.tables import FileServer, JobRow

_INSTANCE = "agent"


def main(folder: str, database: str, began: float, speed: float, seed: int) -> None:
    """Tick, hand out and reap until killed."""

    def clock() -> datetime:
        return hastened(began, speed)

    settings = ServerSettings(folder=Path(folder), database=database, background=False)
    control = open_control(settings, clock=clock)
    chance = random.Random(seed)
    while True:
        scheduler.tick(control)
        for _ in range(20):
            _hand_out(control, chance)
        with control.database.begin() as db:
            job_queue.reap(db, clock())


def hastened(began: float, speed: float) -> datetime:
    """The time now, as it passes for the workers."""
    return datetime.fromtimestamp(began, UTC) + timedelta(seconds=(time.time() - began) * speed)


def _hand_out(control: Control, chance: random.Random) -> None:
    """As an agent of some file server asks for work; it is done in a transaction of its own, or never."""
    now = control.clock()
    with control.database.begin() as db:
        server = chance.choice(db.scalars(select(FileServer)).all())
        server.last_seen_at = now
        # The agent is one, and knows what it runs, whichever server process it asks.
        runs = select(JobRow.id).where(JobRow.file_server_id == server.id, JobRow.state == "running")
        job = job_queue.lease_for_agent(db, server, _INSTANCE, now, db.scalars(runs).all())
    if job is None:
        return
    with control.database.begin() as db:
        held = job_queue.held_job(db, job.id, job.lease_epoch, _INSTANCE)
        job_queue.finish(db, held, Outcome(epoch=job.lease_epoch, state="succeeded"), control.clock())


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]), float(sys.argv[4]), int(sys.argv[5]))
