"""Restore: choose a set and a time."""

import calendar
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from typing import Annotated
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from backstay.domain.errors import BackstayError, NotFound, UsageError
from backstay.domain.time_zone import time_zone
from backstay.repository.browse import Found
from backstay.server import browsing, catalogue, searching
from backstay.server.access import Permission
from backstay.server.protection import standings
from backstay.server.tables import RestorePointRow
from backstay.server.web import byte_paths
from backstay.server.web.visit import PageRoute, Visit, seeing

router = APIRouter(route_class=PageRoute, include_in_schema=False, prefix="/restore")

_MOST_POINTS = 5000
_MOST_SETS_SEARCHED = 200
_MOST_FOUND = 200
_SEARCH_SECONDS = 4.0


@dataclass(frozen=True)
class Day:
    """One day of the calendar, with its restore points; `inside`: it belongs to the month."""

    date: date
    inside: bool
    points: tuple[RestorePointRow, ...]

    @property
    def incomplete(self) -> bool:
        """Whether no complete restore point was made that day."""
        return all(point.problems or point.damaged for point in self.points)


def zone_of(request: Request) -> ZoneInfo:
    """The viewer's time zone, as the script has told it."""
    try:
        return time_zone(request.cookies.get("zone", "UTC").replace("%2F", "/"))
    except UsageError:
        return ZoneInfo("UTC")


@router.get("")
def choose(
    visit: Annotated[Visit, Depends(seeing(Permission.BROWSE))],
    set: int | None = None,
    month: str = "",
    day: str = "",
    search: str = "",
) -> Response:
    """Choose a set; then a restore point, by its time."""
    zone = zone_of(visit.request)
    with visit.control.database.read() as db:
        wanted_sets = None if set is None else [set]
        found = standings(db, visit.now, set_ids=wanted_sets, with_removed=True)
        everything = [one for one in found if one.newest is not None]
        chosen = everything[0] if set is not None and everything else None
        points = browsing.points_of_set(db, chosen.set.id, most=_MOST_POINTS) if chosen else []
    if chosen is None:
        wanted = search.casefold()
        rows = [
            one for one in everything if wanted in f"{one.set.file_server.name}/{one.set.name}".casefold()
        ]
        return visit.page("restore.html", here="restore", rows=rows[:100], total=len(rows), search=search)
    by_day: dict[date, list[RestorePointRow]] = defaultdict(list)
    for point in points:
        by_day[point.committed_at.astimezone(zone).date()].append(point)
    newest_day = max(by_day)
    shown = _month(month) or (_day(day) or newest_day).replace(day=1)
    picked = _day(day) or (newest_day if newest_day.replace(day=1) == shown else None)
    return visit.page(
        "restore_points.html",
        here="restore",
        one=chosen,
        weeks=_weeks(shown, by_day),
        month=shown,
        previous=(shown - timedelta(days=1)).replace(day=1) if min(by_day) < shown else None,
        next=(shown + timedelta(days=31)).replace(day=1)
        if newest_day >= (shown + timedelta(days=31)).replace(day=1)
        else None,
        picked=picked,
        points=by_day.get(picked, []) if picked else [],
        total=len(points),
        newest=points[0],
        zone=zone.key,
    )


def _month(text: str) -> date | None:
    try:
        return datetime.strptime(text, "%Y-%m").replace(tzinfo=UTC).date() if text else None
    except ValueError:
        return None


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text) if text else None
    except ValueError:
        return None


def _weeks(month: date, by_day: dict[date, list[RestorePointRow]]) -> list[list[Day]]:
    weeks = calendar.Calendar().monthdatescalendar(month.year, month.month)
    return [
        [Day(day, day.month == month.month, tuple(by_day.get(day, ()))) for day in week] for week in weeks
    ]


@dataclass(frozen=True)
class Hit:
    """Something that a search found, in the restore point of this row."""

    row: RestorePointRow
    found: Found


@router.get("/search")
def search_everywhere(
    visit: Annotated[Visit, Depends(seeing(Permission.BROWSE))],
    q: str = "",
    point: str = "",
    set: int | None = None,
) -> Response:
    """Search a name in one restore point, or in the newest of every set."""
    within = byte_paths.path_in(visit.request)
    all_sets = True
    with visit.control.database.read() as db:
        if point:
            rows = [catalogue.get_restore_point(db, point)]
        elif set is not None:
            rows = browsing.points_of_set(db, set, most=_MOST_SETS_SEARCHED)
        else:
            found = standings(db, visit.now, with_removed=True)
            newest = [one.newest.id for one in found if one.newest is not None]
            all_sets = len(newest) <= _MOST_SETS_SEARCHED
            rows = catalogue.points_by_id(db, newest[:_MOST_SETS_SEARCHED])
        for row in rows:
            _ = row.backup_set.name, row.file_server.name
    hits, complete, error = _search(visit, rows, q.strip(), within)
    return visit.page(
        "restore_search.html",
        here="restore",
        q=q,
        hits=hits,
        complete=complete and all_sets,
        error=error,
        point=rows[0] if point else None,
        only_set=rows[0].backup_set if set is not None and rows else None,
        within=within,
        searched=len(rows),
    )


def _search(
    visit: Visit, rows: Sequence[RestorePointRow], pattern: str, within: bytes
) -> tuple[list[Hit], bool, BackstayError | None]:
    hits: list[Hit] = []
    seen: set[tuple[int, bytes, int, int]] = set()
    if not pattern:
        return hits, True, None
    ends = searching.deadline(_SEARCH_SECONDS)
    for row in rows:
        try:
            opened = browsing.open_point(visit.control, row.repository_id, row.id)
            for found in islice(searching.search(opened, pattern, within, ends), _MOST_FOUND):
                entry = found.entry
                key = (row.backup_set_id, found.path, entry.size, entry.mtime_ns)
                if key not in seen:
                    seen.add(key)
                    hits.append(Hit(row, found))
        except searching.OutOfTime:
            return hits[:_MOST_FOUND], False, None
        except NotFound:
            continue
        except BackstayError as error:
            return hits, False, error
        if len(hits) >= _MOST_FOUND:
            return hits[:_MOST_FOUND], False, None
    return hits, True, None
