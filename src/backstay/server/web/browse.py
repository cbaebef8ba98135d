"""What is in a restore point: folders, files and their versions, and what differs from another one."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from backstay.domain.entry import Entry, Grade
from backstay.domain.errors import BackstayError, UsageError
from backstay.repository.compare import Difference
from backstay.server import browsing, catalogue, downloads
from backstay.server.access import Permission
from backstay.server.browsing import OpenPoint
from backstay.server.tables import RestorePointRow
from backstay.server.web import byte_paths
from backstay.server.web.display import modified
from backstay.server.web.visit import PageRoute, Visit, seeing

router = APIRouter(route_class=PageRoute, include_in_schema=False, prefix="/restore")

_PAGE = 300
_MOST_VERSIONS_FROM = 100
_MOST_DIFFERENCES = 500


@dataclass(frozen=True)
class Crumb:
    """A folder above the one that is shown."""

    name: bytes
    path: bytes


@dataclass(frozen=True)
class VersionView:
    """One version of a file, in the newest restore point that holds it."""

    entry: Entry
    point: RestorePointRow
    count: int
    grade: str


def open_point(visit: Visit, point_id: str) -> tuple[RestorePointRow, OpenPoint]:
    """The restore point of a page."""
    with visit.control.database.read() as db:
        row = catalogue.get_restore_point(db, point_id)
        _ = row.backup_set.name, row.file_server.name
    return row, browsing.open_point(visit.control, row.repository_id, row.id)


def crumbs_of(path: bytes) -> list[Crumb]:
    """The folders above a path, and itself."""
    names = [name for name in path.split(b"/") if name]
    return [Crumb(name, b"/" + b"/".join(names[: number + 1])) for number, name in enumerate(names)]


def grade_of(entry: Entry) -> str:
    """How good a file version is, in one word."""
    return Grade(entry.grade).name.lower()


@router.get("/{point_id}")
def show(visit: Annotated[Visit, Depends(seeing(Permission.BROWSE))], point_id: str) -> Response:
    """A folder of a restore point, or a file."""
    row, opened = open_point(visit, point_id)
    path = byte_paths.path_in(visit.request)
    entry = browsing.find_path(opened, path)
    if not entry.is_directory:
        return _file(visit, row, opened, path, entry)
    after = byte_paths.name_in(visit.request, "after")
    page = browsing.list_folder(opened, path, after=after or b"", limit=_PAGE)
    if path == b"/" and after is None:
        # A restore point of /srv/a/b begins with folders that hold nothing else: go to where something is.
        while page.next is None and len(page.entries) == 1 and page.entries[0].is_directory:
            path = byte_paths.below(path, page.entries[0].name)
            page = browsing.list_folder(opened, path, limit=_PAGE)
    return visit.page(
        "browse.html",
        here="restore",
        row=row,
        path=path,
        crumbs=crumbs_of(path),
        folder=page.folder,
        entries=page.entries,
        after=after,
        last=page.next,
        modified=modified,
        grade_of=grade_of,
    )


def _file(visit: Visit, row: RestorePointRow, opened: OpenPoint, path: bytes, entry: Entry) -> Response:
    with visit.control.database.read() as db:
        rows = browsing.points_of_set(db, row.backup_set_id, most=_MOST_VERSIONS_FROM)
    views = [
        VersionView(one.entry, one.points[0], len(one.points), grade_of(one.entry))
        for one in browsing.versions(visit.control, rows, path)
    ]
    text = image = None
    cut = False
    error: BackstayError | None = None
    if entry.is_regular and entry.has_content and visit.may(Permission.RESTORE):
        try:
            shown = downloads.preview_of(opened, entry)
            image = shown.media_type if shown.media_type.startswith("image/") else None
            text = None if image else visible_text(shown.content)
            cut = shown.truncated
        except UsageError:
            pass  # there is no preview of such a file, which the page says
        except BackstayError as damaged:
            error = damaged
    return visit.page(
        "browse_file.html",
        here="restore",
        row=row,
        path=path,
        crumbs=crumbs_of(path),
        entry=entry,
        versions=views,
        text=text,
        image=image,
        cut=cut,
        error=error,
        modified=modified,
        grade=grade_of(entry),
    )


def visible_text(content: bytes) -> str:
    """A text whose lines stay lines, and whose other control characters do nothing."""
    lines = content.decode("utf-8", "replace").replace("\r\n", "\n")
    return "".join(one if one.isprintable() or one in "\n\t" else "\ufffd" for one in lines)


@router.get("/{point_id}/compare")
def compare(
    visit: Annotated[Visit, Depends(seeing(Permission.BROWSE))], request: Request, point_id: str, to: str = ""
) -> Response:
    """What has changed between this restore point and another one of its set."""
    row, _ = open_point(visit, point_id)
    with visit.control.database.read() as db:
        others = [one for one in browsing.points_of_set(db, row.backup_set_id, most=200) if one.id != row.id]
        earlier = (one for one in others if one.committed_at < row.committed_at)
        other = catalogue.get_restore_point(db, to) if to else next(earlier, next(iter(others), None))
        if other is not None and other.repository_id != row.repository_id:
            raise UsageError(
                "the two restore points are in different repositories", hint="choose another one"
            )
    differences: list[Difference] = []
    before = after = row
    following = None
    if other is not None:
        before, after = sorted((row, other), key=lambda one: one.committed_at)
        older = browsing.open_point(visit.control, before.repository_id, before.id)
        newer = browsing.open_point(visit.control, after.repository_id, after.id)
        differences, following = browsing.differences(older, newer, limit=_MOST_DIFFERENCES)
    return visit.page(
        "browse_compare.html",
        here="restore",
        row=row,
        other=other,
        others=others,
        before=before,
        after=after,
        differences=differences,
        more=following is not None,
    )
