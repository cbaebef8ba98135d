"""What happens, live, as server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html).

Whichever server process changes a job, all see it: they look at the database, at once when something
happened in their own process, else within a second. Every event is the state as it is, not a difference, so
that one that is missed does no harm.
"""

import asyncio
import contextlib
import json
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeVar

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from backstay.domain.job import JobState
from backstay.server import job_queue, jobs
from backstay.server.api.dependencies import ControlDep, Viewer
from backstay.server.api.fields import Number
from backstay.server.api.jobs import detail_of_job, view_of_message
from backstay.server.control import Control
from backstay.server.jobs import Glimpse

router = APIRouter(tags=["jobs"])

_LOOK_EVERY_SECONDS = 1.0
_STILL_HERE_SECONDS = 15.0
_MESSAGES_AT_ONCE = 500
_STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
        "description": "events, without end",
    }
}

_T = TypeVar("_T")


class _JobWatch:
    """What a watcher of one job has seen of it."""

    def __init__(self, control: Control, job_id: int, seen_message: int) -> None:
        self._control = control
        self._job_id = job_id
        self._revision = -1
        self._message = seen_message
        self.ended = False

    def look(self) -> list[str]:
        """The events since the last look."""
        events: list[str] = []
        with self._control.database.read() as db:
            row = job_queue.get_job(db, self._job_id)
            messages = jobs.messages_of(db, row.id, after=self._message, limit=_MESSAGES_AT_ONCE)
            for message in messages:
                self._message = message.id
                events.append(_event("message", view_of_message(message).model_dump(mode="json"), message.id))
            if row.revision != self._revision:
                self._revision = row.revision
                detail = detail_of_job(row, will_be_retried=job_queue.will_be_retried(db, row))
                events.append(_event("job", detail.model_dump(mode="json"), self._message))
            if JobState(row.state).ended and len(messages) < _MESSAGES_AT_ONCE:
                self.ended = True
                events.append(_event("end", {"id": row.id, "state": row.state}, self._message))
        return events


class Overview:
    """What a watcher of all jobs has seen of them."""

    def __init__(self, control: Control) -> None:
        self._control = control
        self._seen: dict[int, Glimpse] = {}
        self._newest: int | None = None

    def look(self) -> list[str]:
        """An event for each job that has changed since the last look; at first, for each that is open."""
        with self._control.database.read() as db:
            newest = jobs.newest_job_id(db)
            found = jobs.glimpses(db, list(self._seen), newest if self._newest is None else self._newest)
        self._newest = max(newest, self._newest or 0)
        changed = [one for one in found if self._seen.get(one.id) != one]
        self._seen = {one.id: one for one in found if not JobState(one.state).ended}
        return [_event("job", vars(one), one.id) for one in changed]


@router.get("/jobs/{job_id}/events", response_class=StreamingResponse, responses=_STREAM)
async def job_events(
    control: ControlDep, request: Request, actor: Viewer, job_id: Number
) -> StreamingResponse:
    """Follow a job: `message` for each line of its log, `job` whenever it changes, `end` when it is over.

    Who comes again with `Last-Event-ID` is told the lines that follow.
    """
    last = request.headers.get("last-event-id", "")
    seen = int(last) if last.isascii() and last.isdecimal() and len(last) <= 15 else 0
    watch = _JobWatch(control, job_id, seen)
    first = await run_in_threadpool(watch.look)
    return _streamed(_events(request, first, watch.look, lambda: watch.ended))


@router.get("/events", response_class=StreamingResponse, responses=_STREAM)
async def events(control: ControlDep, request: Request, actor: Viewer) -> StreamingResponse:
    """Which jobs change: a `job` event for each that is open now, and for each change of any."""
    overview = Overview(control)
    first = await run_in_threadpool(overview.look)
    return _streamed(_events(request, first, overview.look, lambda: False))


async def _events(
    request: Request, first: list[str], look: Callable[[], list[str]], ended: Callable[[], bool]
) -> AsyncIterator[str]:
    clock = asyncio.get_running_loop().time
    woken: asyncio.Event = request.app.state.woken
    ending: threading.Event = request.app.state.control.ending
    yield "".join(first) or ": here\n\n"
    spoke = clock()
    while not ended() and not ending.is_set() and not await request.is_disconnected():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(woken.wait(), _LOOK_EVERY_SECONDS)
        found = "".join(await run_in_threadpool(look))
        if not found and clock() - spoke > _STILL_HERE_SECONDS:
            found = ": still here\n\n"
        if found:
            spoke = clock()
            yield found


def _event(name: str, data: dict[str, Any], number: int) -> str:
    return f"id: {number}\nevent: {name}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n"


def _streamed(events: AsyncIterator[str]) -> StreamingResponse:
    # Proxies that gather an answer before they pass it on are told not to.
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(events, media_type="text/event-stream", headers=headers)
