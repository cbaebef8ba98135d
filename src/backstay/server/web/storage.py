"""Storage: repositories, how they grow, what retention would take out, and the jobs that care for them."""

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.responses import Response

from backstay.domain.errors import Conflict, UsageError
from backstay.domain.job import JobKind
from backstay.server import figures, jobs, retention, storage_figures, upkeep_schedule
from backstay.server.access import Permission
from backstay.server.web import job_view
from backstay.server.web.visit import PageRoute, SentForm, Visit, changing, seeing, text_of

router = APIRouter(route_class=PageRoute, include_in_schema=False)

_SPANS = {"30": "30 days", "90": "90 days", "365": "1 year"}
_KINDS = (JobKind.VERIFY, JobKind.PRUNE, JobKind.DRILL)


@router.get("/storage")
def storage(visit: Annotated[Visit, Depends(seeing(Permission.VIEW))], days: str = "90") -> Response:
    """All repositories."""
    days = days if days in _SPANS else "90"
    since = visit.now - timedelta(days=int(days))
    with visit.control.database.read() as db:
        found = storage_figures.repositories(db)
        shown = [
            (
                row,
                newest,
                storage_figures.chart_of(figures.history(db, row.id, since, most=200)),
                upkeep_schedule.next_due(db, row.id),
            )
            for row, newest in found
        ]
        recent, _ = jobs.list_jobs(db, jobs.JobFilter(kinds=_KINDS), limit=10)
        schedules = upkeep_schedule.schedules(db)
    return visit.page(
        "storage.html",
        here="storage",
        repositories=shown,
        jobs=recent,
        view=job_view,
        schedules=schedules,
        days=days,
        spans=_SPANS,
    )


@router.get("/storage/{repository_id}/plan")
def plan(
    visit: Annotated[Visit, Depends(seeing(Permission.VIEW))], repository_id: str, after: int = 0
) -> Response:
    """What the next prune would do to restore points, set by set, and why."""
    with visit.control.database.read() as db:
        plans = retention.plan_repository(db, repository_id, visit.now, after=after, limit=50)
        for one in plans:
            _ = one.backup_set.file_server.name
    return visit.page(
        "storage_plan.html",
        here="storage",
        repository_id=repository_id,
        plans=[(one, [each for each in one.decisions if not each.keep]) for one in plans],
        more=plans[-1].backup_set.id if len(plans) == 50 else None,
    )


@router.post("/storage/{repository_id}/run")
def run(
    visit: Annotated[Visit, Depends(changing(Permission.VIEW))], form: SentForm, repository_id: str
) -> Response:
    """Verify, prune or drill now."""
    kind = text_of(form, "kind")
    wanted: dict[str, tuple[JobKind, Permission, dict[str, float | bool]]] = {
        "verify": (JobKind.VERIFY, Permission.RUN, {"data_percent": 5.0}),
        "verify-all": (JobKind.VERIFY, Permission.RUN, {"data_percent": 100.0}),
        "prune": (JobKind.PRUNE, Permission.RETAIN, {"dry_run": False}),
        "prune-look": (JobKind.PRUNE, Permission.RETAIN, {"dry_run": True}),
        "drill": (JobKind.DRILL, Permission.RUN, {"files": 50}),
    }
    if kind not in wanted:
        raise UsageError("there is no such job", hint="choose one of the page")
    job_kind, permission, request = wanted[kind]
    visit.actor.require(permission)
    with visit.control.database.begin() as db:
        job = upkeep_schedule.request_job(
            db, visit.actor, job_kind, repository_id, now=visit.now, request=request
        )
    visit.control.wakeups.wake()
    return visit.go(f"/jobs/{job.id}")


@router.post("/restore/{point_id}/hold")
def hold(
    visit: Annotated[Visit, Depends(changing(Permission.RETAIN))], form: SentForm, point_id: str
) -> Response:
    """Put a restore point under legal hold, or let go of it."""
    reason = text_of(form, "reason")
    with visit.control.database.begin() as db:
        if text_of(form, "do") == "release":
            retention.release(db, visit.actor, point_id, reason, now=visit.now)
            told = "The restore point is held no more"
        else:
            retention.hold(db, visit.actor, point_id, reason, now=visit.now)
            told = "The restore point stays, whatever retention says"
    return visit.go(f"/restore/{point_id}", told)


@router.post("/restore/{point_id}/delete")
def delete(
    visit: Annotated[Visit, Depends(changing(Permission.RETAIN))], form: SentForm, point_id: str
) -> Response:
    """Delete a restore point for good; the beginning of its id must be typed."""
    if text_of(form, "confirmation") != point_id[:12]:
        raise Conflict("the id that was typed is another one", hint="type it exactly as it is shown")
    with visit.control.database.begin() as db:
        row = retention.delete_point(db, visit.actor, point_id, text_of(form, "reason"), now=visit.now)
    return visit.go(f"/restore?set={row.backup_set_id}", "The restore point goes with the next prune")
