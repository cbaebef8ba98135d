"""Agents that wait for work in this process: one question to the database answers all of them.

Each waiting agent asking for itself would cost a question an agent at every change of any job: with a
thousand agents and fifty backups that is thousands a second.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from typing import TypeVar, TypeVarTuple

import structlog
from anyio import CapacityLimiter, to_thread

from backstay.domain.errors import BackstayError
from backstay.server import job_queue, looks
from backstay.server.control import Control
from backstay.server.silence import ClockWatch

_LOOK_EVERY_SECONDS = 2.0
"""Work that another process queued, or that is due by now, wakes nobody here."""
_AT_MOST_EVERY_SECONDS = 0.1

_THREADS = 16
"""For what agents say; so that, however much they say, those who use the console need not stand in line."""

_log = structlog.get_logger()

_Given = TypeVarTuple("_Given")
_Found = TypeVar("_Found")


class WaitingAgents:
    """Calls those who wait when there is something for them. Belongs to one event loop."""

    def __init__(self, control: Control) -> None:
        self._control = control
        self._waiting: dict[int, set[asyncio.Event]] = {}
        self._stirred = asyncio.Event()
        self._clock = ClockWatch()
        self._threads = CapacityLimiter(_THREADS)

    async def in_thread(self, do: Callable[[*_Given], _Found], *given: *_Given) -> _Found:
        """What `do` returns, in one of the threads that are there for agents alone."""
        return await to_thread.run_sync(do, *given, limiter=self._threads)

    @contextlib.contextmanager
    def waiting(self, file_server_id: int) -> Iterator[asyncio.Event]:
        """An event that is set when this file server has work, or the process is about to end."""
        called = asyncio.Event()
        mine = self._waiting.setdefault(file_server_id, set())
        mine.add(called)
        try:
            yield called
        finally:
            mine.discard(called)
            if not mine and self._waiting.get(file_server_id) is mine:
                del self._waiting[file_server_id]

    def stir(self) -> None:
        """Something has happened: there may be work."""
        self._stirred.set()

    async def call_for_ever(self) -> None:
        """Look when stirred, and every two seconds; until cancelled."""
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stirred.wait(), _LOOK_EVERY_SECONDS)
            self._stirred.clear()
            if self._control.stopping.is_set():
                self._call(list(self._waiting))
            elif self._waiting:
                await self._look()
            await asyncio.sleep(_AT_MOST_EVERY_SECONDS)

    def _hold_through_a_jump(self) -> None:
        """Whoever waits here is there, however long ago the clock says that it asked."""
        now = self._control.clock()
        if self._clock.jumped(now):
            for number in self._waiting:
                self._control.small_talk.heard(number, now)

    async def _look(self) -> None:
        try:
            self._hold_through_a_jump()
            self._call(await self.in_thread(self._with_work))
        except BackstayError as error:
            _log.warning("no look for work", what=error.what, hint=error.hint)
        except Exception as error:  # noqa: BLE001  a defect in one look must not end all looks
            _log.error("defect in a look for work", exc_info=error)

    def _with_work(self) -> list[int]:
        with self._control.database.read() as db:
            now = self._control.clock()
            return [*job_queue.file_servers_with_work(db, now), *looks.file_servers_asked(db, now)]

    def _call(self, file_server_ids: list[int]) -> None:
        for number in file_server_ids:
            for called in self._waiting.get(number, ()):
                called.set()
