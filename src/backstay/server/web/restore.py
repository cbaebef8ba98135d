"""Restore: choose a set and a time."""

import calendar
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Annotated
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from backstay.domain.errors import BackstayError, UsageError
from backstay.domain.time_zone import time_zone
from backstay.server import browsing, catalogue, fleet, name_search, searching
from backstay.server.access import Permission
from backstay.server.protection import standings
from backstay.server.tables import RestorePointRow
from backstay.server.web import byte_paths
from backstay.server.web.visit import PageRoute, Visit, seeing

router = APIRouter(route_class=PageRoute, include_in_schema=False, prefix="/restore")

_MOST_POINTS = 5000
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
    """Something that a search found, in the restore point of this row, the newest that has it."""

    row: RestorePointRow
    path: bytes
    is_folder: bool
    size: int | None
    mtime_ns: int

    @property
    def name(self) -> bytes:
        """The last part of its path."""
        return self.path.rpartition(b"/")[2]


@router.get("/search")
def search_everywhere(
    visit: Annotated[Visit, Depends(seeing(Permission.BROWSE))],
    q: str = "",
    point: str = "",
    set: int | None = None,
    server: int | None = None,
    after: str = "",
) -> Response:
    """Search a name in one restore point; or in all, of one set, of one file server, or of everybody."""
    within = byte_paths.path_in(visit.request)
    row = only_set = None
    with visit.control.database.read() as db:
        if point:
            row = catalogue.get_restore_point(db, point)
            _ = row.backup_set.name, row.file_server.name
        elif set is not None:
            points = browsing.points_of_set(db, set, most=1)
            only_set = points[0].backup_set if points else None
        only_server = fleet.get_file_server(db, server) if server is not None else None
    wanted = q.strip()
    if row is not None:
        answer = _in_point(visit, row, wanted, within)
    else:
        answer = _everywhere(visit, name_search.Wanted(wanted, server, set), after)
    hides = {"q": q, "server": server, "set": set, "after": answer.next}
    return visit.page(
        "restore_search.html",
        here="restore",
        q=q,
        answer=answer,
        point=row,
        only_set=only_set,
        only_server=only_server,
        within=within,
        again=f"{visit.request.url.path}?{visit.request.url.query}",
        on="/restore/search?" + urlencode({name: value for name, value in hides.items() if value})
        if answer.next
        else "",
    )


@dataclass(frozen=True)
class _Found:
    """What a search found.

    Attributes:
        next: where to go on; empty where nothing is left, or one cannot.
        complete: everything was searched; `preparing`: the names of some restore points are still collected.
        skipped: so many restore points cannot be read.
    """

    hits: list[Hit]
    next: str = ""
    complete: bool = True
    preparing: bool = False
    skipped: int = 0
    error: BackstayError | None = None


def _in_point(visit: Visit, row: RestorePointRow, pattern: str, within: bytes) -> _Found:
    hits: list[Hit] = []
    if not pattern:
        return _Found(hits)
    try:
        opened = browsing.open_point(visit.control, row.repository_id, row.id)
        for found in searching.search(opened, pattern, within, searching.deadline(_SEARCH_SECONDS)):
            if len(hits) >= _MOST_FOUND:
                return _Found(hits, complete=False)
            entry = found.entry
            size = (entry.totals.bytes if entry.totals else None) if entry.is_directory else entry.size
            hits.append(Hit(row, found.path, entry.is_directory, size, entry.mtime_ns))
    except searching.OutOfTime:
        return _Found(hits, complete=False)
    except BackstayError as error:
        return _Found(hits, error=error)
    return _Found(hits)


def _everywhere(visit: Visit, wanted: name_search.Wanted, after: str) -> _Found:
    """A name in all restore points, the newest first; what is not collected yet is waited for."""
    if not wanted.name:
        return _Found([])
    try:
        found = name_search.search(visit.control, wanted, after=after, limit=_MOST_FOUND)
    except BackstayError as error:
        return _Found([], error=error)
    hits = [Hit(row, hit.path, hit.is_folder, hit.size, hit.mtime_ns) for row, hit in found.items]
    return _Found(hits, found.next or "", found.next is None, found.preparing, len(found.skipped))
