"""The overview: what is protected and what is not, at a glance."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from fastapi.responses import HTMLResponse
from starlette.responses import Response

from backstay.domain.job import GOOD_STATES
from backstay.server import alerts, fleet, job_list, storage_figures
from backstay.server.access import Permission
from backstay.server.alert_checks.finding import Severity
from backstay.server.protection import Protection, Standing, standings
from backstay.server.web import job_view
from backstay.server.web.states import JOB_STATES
from backstay.server.web.visit import PageRoute, Visit, seeing

router = APIRouter(route_class=PageRoute, include_in_schema=False)

_SLOTS = 48
_SLOT = timedelta(minutes=30)
_TONES = ("good", "warn", "bad", "info", "calm")
_WORST_FIRST = (
    Protection.UNPROTECTED,
    Protection.FAILING,
    Protection.OVERDUE,
    Protection.INCOMPLETE,
    Protection.PROTECTED,
    Protection.DISABLED,
)


@dataclass(frozen=True)
class Bar:
    """One half hour of the timeline: a piece for each outcome, from the bottom up.

    Attributes:
        pieces: tone, where it begins and how high it is, in hundredths of the highest bar.
        words: what a screen reader and a pointer are told.
    """

    pieces: tuple[tuple[str, float, float], ...]
    begins: datetime
    words: str


@router.get("/", response_class=HTMLResponse)
def overview(visit: Annotated[Visit, Depends(seeing(Permission.VIEW))]) -> Response:
    """The first page."""
    return visit.page_in_two("overview.html", here="overview", gather=lambda: _everything(visit))


def _everything(visit: Visit) -> dict[str, Any]:
    now = visit.now
    with visit.control.database.read() as db:
        sets = standings(db, now)
        servers, connected = fleet.count_file_servers(db, now)
        outcomes = job_list.outcomes_since(db, now - _SLOTS * _SLOT)
        running = job_list.open_jobs(db, 6)
        growth = storage_figures.growth(db, now - timedelta(days=90))
        latest = storage_figures.latest(db)
        alerting, _ = alerts.list_alerts(db, limit=100)
    counts = Counter(one.state for one in sets)
    needing = [one for one in sets if one.state not in {Protection.PROTECTED, Protection.DISABLED}]
    long_ago = datetime.min.replace(tzinfo=now.tzinfo)
    needing.sort(key=lambda one: (_WORST_FIRST.index(one.state), one.good_at or long_ago))
    upcoming = sorted((one for one in sets if one.next_run), key=lambda one: one.next_run or now)
    return {
        "sets": sets,
        "protected": counts[Protection.PROTECTED],
        "judged": len(sets) - counts[Protection.DISABLED],
        "needing": needing,
        "oldest": _oldest_copies(sets),
        "upcoming": upcoming[:6],
        "servers": servers,
        "connected": connected,
        "jobs": len(outcomes),
        "good_jobs": sum(1 for state, _ in outcomes if state in {one.value for one in GOOD_STATES}),
        "bad_jobs": sum(1 for state, _ in outcomes if JOB_STATES[state].tone == "bad"),
        "bars": timeline(outcomes, now),
        "running": running,
        "view": job_view,
        "growth": storage_figures.chart(growth),
        "latest": latest,
        "alerts": sorted(alerting, key=lambda one: -Severity(one.severity).rank),
    }


def _oldest_copies(sets: Sequence[Standing]) -> list[Standing]:
    """Sets whose newest complete copy is the oldest, first; those without any are named elsewhere."""
    aged = [one for one in sets if one.good_at is not None and one.state is not Protection.DISABLED]
    return sorted(aged, key=lambda one: one.good_at or datetime.max)[:5]


def timeline(outcomes: Sequence[tuple[str, datetime]], now: datetime) -> list[Bar]:
    """The last 24 hours in half hours, the oldest first."""
    slots: list[Counter[str]] = [Counter() for _ in range(_SLOTS)]
    states: list[Counter[str]] = [Counter() for _ in range(_SLOTS)]
    begins = now - _SLOTS * _SLOT
    for state, at in outcomes:
        slot = min(int((at - begins) / _SLOT), _SLOTS - 1)
        if slot >= 0:
            slots[slot][JOB_STATES[state].tone] += 1
            states[slot][JOB_STATES[state].label] += 1
    highest = max((one.total() for one in slots), default=0) or 1
    bars = []
    for number, half_hour in enumerate(slots):
        pieces, top = [], 0.0
        for tone in _TONES:
            if half_hour[tone]:
                height = 100 * half_hour[tone] / highest
                pieces.append((tone, top, height))
                top += height
        words = ", ".join(f"{count} {label.lower()}" for label, count in states[number].items()) or "no job"
        bars.append(Bar(tuple(pieces), begins + number * _SLOT, words))
    return bars


@router.get("/overview/now", response_class=HTMLResponse)
def running_now(visit: Annotated[Visit, Depends(seeing(Permission.VIEW))]) -> Response:
    """The jobs that are not over, for the overview to keep fresh."""
    with visit.control.database.read() as db:
        running = job_list.open_jobs(db, 6)
    return visit.part("overview_now.html", running=running, view=job_view)
