"""What a server process does by itself, beside answering: one list of chores, each with its period.

Every chore may run in several server processes at once, and be cut off anywhere: it looks at the database
for what is due, and does it in transactions.
"""

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import structlog

from backstay.domain.errors import BackstayError
from backstay.server import (
    alerts,
    browser_sessions,
    figures,
    job_queue,
    pack_checks,
    reconcile,
    scheduler,
    server_jobs,
    small_talk,
    upkeep_schedule,
)
from backstay.server.control import Control
from backstay.server.notifications import outbox

_JOIN_SECONDS = 5.0
_log = structlog.get_logger()


@dataclass(frozen=True)
class Chore:
    """Something done again and again; `first_after`: seconds after the start when it is done first."""

    name: str
    every: float
    run: Callable[[Control], object]
    first_after: float = 0.0


def _reap(control: Control) -> None:
    with control.database.begin() as db:
        ended = job_queue.reap(db, control.clock(), control.silence)
    if ended:
        control.wakeups.wake()


def _write_small_talk(control: Control) -> None:
    if control.small_talk.write():
        control.wakeups.wake()


CHORES: list[Chore] = [
    Chore("small talk", small_talk.WRITTEN_EVERY_SECONDS, _write_small_talk),
    # Agents that could not ask while no server was there are given time to come back.
    Chore("reap", 5.0, _reap, 60.0),
    Chore("schedule", scheduler.EVERY_SECONDS, scheduler.tick, 1.0),
    Chore("sweep sessions", 3600.0, browser_sessions.sweep, 60.0),
    Chore("alerts", alerts.EVERY.total_seconds(), alerts.evaluate, 5.0),
    Chore("notify", outbox.EVERY.total_seconds(), outbox.run, 10.0),
    Chore("upkeep", 30.0, upkeep_schedule.look, 60.0),
    # Two, so that a verify of days does not keep a prune waiting.
    Chore("server jobs", 2.0, server_jobs.run_next),
    Chore("more server jobs", 3.0, server_jobs.run_next),
    Chore("check packs", 10.0, pack_checks.check_when_quiet, 5.0),
    Chore("reconcile", 300.0, reconcile.look, 120.0),
    Chore("figures", 60.0, figures.note_all, 30.0),
]


@contextlib.asynccontextmanager
async def running(control: Control) -> AsyncIterator[None]:
    """Run the chores in threads of their own while the application is up."""
    ending = control.stopping
    chores = CHORES if control.settings.background else []
    threads = [
        threading.Thread(target=_loop, args=(control, chore, ending), name=chore.name, daemon=True)
        for chore in chores
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ending.set()
        await asyncio.to_thread(_join, threads)
        with contextlib.suppress(BackstayError):  # agents say it again
            await asyncio.to_thread(control.small_talk.write)


def _join(threads: list[threading.Thread]) -> None:
    ends = time.monotonic() + _JOIN_SECONDS
    for thread in threads:
        thread.join(max(0.0, ends - time.monotonic()))


def _loop(control: Control, chore: Chore, ending: threading.Event) -> None:
    pause = chore.first_after
    while not ending.wait(pause):
        pause = chore.every
        began = time.monotonic()
        try:
            chore.run(control)
            control.metrics.chore_done(chore.name, control.clock(), time.monotonic() - began)
        except BackstayError as error:
            control.metrics.chore_failed(chore.name)
            _log.warning("chore failed", chore=chore.name, what=error.what, hint=error.hint)
        except Exception as error:  # noqa: BLE001  a defect in one chore must not end the others, or itself
            control.metrics.chore_failed(chore.name)
            _log.error("defect in a chore", chore=chore.name, exc_info=error)
