"""Jobs: the list, one of them live, and what can be done with it."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Depends
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse

from backstay.domain.job import OPEN_STATES, JobKind, JobState
from backstay.server import job_list, job_queue, jobs
from backstay.server.access import Permission
from backstay.server.tables import JobRow
from backstay.server.web import job_view
from backstay.server.web.visit import HEADERS, PageRoute, Visit, changing, seeing

router = APIRouter(route_class=PageRoute, include_in_schema=False, prefix="/jobs")

_PAGE = 50
_LOOK_AGAIN_SECONDS = 1.0
_SHOWN_PROBLEMS = 100
_GROUPS: dict[str, tuple[str, tuple[JobState, ...]]] = {
    "": ("All", ()),
    "open": ("Open", tuple(OPEN_STATES)),
    "failed": ("Failed", (JobState.FAILED, JobState.ABORTED, JobState.SKIPPED)),
    "warnings": ("With warnings", (JobState.SUCCEEDED_WITH_WARNINGS,)),
    "succeeded": ("Succeeded", (JobState.SUCCEEDED,)),
    "cancelled": ("Cancelled", (JobState.CANCELLED,)),
}


@router.get("")
def list_them(
    visit: Annotated[Visit, Depends(seeing(Permission.VIEW))],
    state: str = "",
    kind: str = "",
    server: int | None = None,
    set: int | None = None,
    after: str = "",
) -> Response:
    """The jobs, the newest first."""
    state = state if state in _GROUPS else ""
    kind = kind if kind in {one.value for one in JobKind} else ""
    wanted = jobs.JobFilter(
        kinds=(JobKind(kind),) if kind else (),
        states=_GROUPS[state][1],
        file_server_id=server,
        backup_set_id=set,
    )
    with visit.control.database.read() as db:
        rows, following = jobs.list_jobs(db, wanted, after=after, limit=_PAGE)
    kept: dict[str, object] = {"state": state, "kind": kind, "server": server, "set": set}
    kept = {name: value for name, value in kept.items() if value}

    def address(**changed: object) -> str:
        query = {name: value for name, value in {**kept, **changed}.items() if value}
        return "/jobs" + (f"?{urlencode(query)}" if query else "")

    return visit.page(
        "jobs.html",
        here="jobs",
        rows=rows,
        view=job_view,
        groups=[(name, words, address(state=name)) for name, (words, _) in _GROUPS.items()],
        state=state,
        kind=kind,
        kinds=[("", "Every kind"), *((one.value, job_view.kind_label(one)) for one in JobKind)],
        kept=kept,
        about=next((row for row in rows if server or set), None),
        everything=address(server="", set=""),
        narrowed=bool(server or set),
        newest=address() if after else "",
        more=address(after=following) if following else "",
    )


@router.get("/{job_id}")
def show(visit: Annotated[Visit, Depends(seeing(Permission.VIEW))], job_id: int) -> Response:
    """One job; while it runs, the page is kept fresh."""
    with visit.control.database.read() as db:
        return visit.page("job.html", here="jobs", **_content(db, job_queue.get_job(db, job_id)))


def _content(db: Session, job: JobRow) -> dict[str, Any]:
    state = JobState(job.state)
    return {
        "job": job,
        "ended": state.ended,
        "steps": job_view.steps_of(job),
        "share": job_view.share_of(job),
        "view": job_view,
        "figures": job_view.figures_of(job),
        "report": job_view.report_of(job) if state.ended else None,
        "messages": job_list.last_messages(db, job.id),
        "problems": jobs.problems_of(db, job.id, limit=_SHOWN_PROBLEMS),
        "server": job.file_server,
        "set": job.backup_set,
    }


@router.get("/{job_id}/live")
def live(visit: Annotated[Visit, Depends(seeing(Permission.VIEW))], job_id: int) -> Response:
    """The job's part of the page, again whenever it changes, as server-sent events."""
    with visit.control.database.read() as db:
        job_queue.get_job(db, job_id)
    return StreamingResponse(
        _changes(visit, job_id),
        media_type="text/event-stream",
        headers={**HEADERS, "X-Accel-Buffering": "no"},
    )


async def _changes(visit: Visit, job_id: int) -> AsyncIterator[str]:
    woken: asyncio.Event = visit.request.app.state.woken
    seen = -1
    while not await visit.request.is_disconnected():
        revision, text, ended = await run_in_threadpool(_look, visit, job_id, seen)
        if revision != seen:
            seen = revision
            yield _event("job", text)
        if ended:
            yield _event("ended", "")
            return
        try:
            await asyncio.wait_for(woken.wait(), _LOOK_AGAIN_SECONDS)
        except TimeoutError:
            yield ": still here\n\n"


def _look(visit: Visit, job_id: int, seen: int) -> tuple[int, str, bool]:
    with visit.control.database.read() as db:
        job = job_queue.get_job(db, job_id)
        ended = JobState(job.state).ended
        text = visit.text("job_body.html", **_content(db, job)) if job.revision != seen else ""
        return job.revision, text, ended


def _event(name: str, text: str) -> str:
    """https://html.spec.whatwg.org/multipage/server-sent-events.html"""
    lines = "".join(f"data: {line}\n" for line in text.splitlines() or [""])
    return f"event: {name}\n{lines}\n"


@router.post("/{job_id}/cancel")
def cancel(visit: Annotated[Visit, Depends(changing(Permission.VIEW))], job_id: int) -> Response:
    """Have it stopped; who may depends on its kind."""
    with visit.control.database.begin() as db:
        jobs.cancel(db, visit.actor, job_id, now=visit.now)
    visit.control.wakeups.wake()
    return visit.go(f"/jobs/{job_id}", "The job is told to stop", tone="info")


@router.post("/{job_id}/again")
def again(visit: Annotated[Visit, Depends(changing(Permission.VIEW))], job_id: int) -> Response:
    """Do the same once more; who may depends on its kind."""
    with visit.control.database.begin() as db:
        fresh = jobs.run_again(db, visit.actor, job_id, now=visit.now)
    visit.control.wakeups.wake()
    return visit.go(f"/jobs/{fresh.id}")
