"""Finding names in all restore points, the newest first, by files of names that a worker collects.

The files are made when a search first needs them, by a worker process; until one is there the answer says
that it is being prepared, and where to go on.
"""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session, joinedload

from backstay.domain.errors import BackstayError, DamagedObject, UsageError
from backstay.repository.name_index import NameHit, NameIndex, NamePattern
from backstay.server.control import Control
from backstay.server.tables import RepositoryRow, RestorePointRow
from backstay.server.worker_process import WorkerProcess

_SECONDS = 1.5
_LOOK_EVERY = 0.05
_TRY_AGAIN_SECONDS = 600.0
_BATCH = 200
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_KEPT_BYTES = 4 << 30
_log = structlog.get_logger()


@dataclass(frozen=True)
class Wanted:
    """What is searched for, and where: in all restore points, of one file server, or of one set."""

    name: str
    file_server_id: int | None = None
    backup_set_id: int | None = None


@dataclass(frozen=True)
class FoundNames:
    """What was found so far.

    Attributes:
        next: to go on; None when all was searched.
        preparing: names are still being collected.
        skipped: ids of points that cannot be read.
    """

    items: list[tuple[RestorePointRow, NameHit]]
    next: str | None
    preparing: bool = False
    skipped: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Place:
    """A point, and its newer neighbour in the same set: only what that one has no more is searched here."""

    row: RestorePointRow
    newer: str | None

    @property
    def file(self) -> str:
        return f"{self.row.id}-{self.newer or 'whole'}.names"


class _Collector:
    """Has workers make files of names, one worker at a time for each repository. One in each process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._at_work: set[str] = set()
        self._failed: dict[str, float] = {}

    def failed(self, file: str) -> bool:
        """Whether the file could not be made lately."""
        with self._lock:
            return time.monotonic() - self._failed.get(file, float("-inf")) < _TRY_AGAIN_SECONDS

    def want(self, control: Control, repository_id: str, places: Sequence[_Place]) -> None:
        """Have these files made, if nobody does so yet; returns at once."""
        with self._lock:
            if repository_id in self._at_work:
                return
            self._at_work.add(repository_id)
        arguments = (control, repository_id, list(places))
        threading.Thread(target=self._collect, args=arguments, name="names", daemon=True).start()

    def _collect(self, control: Control, repository_id: str, places: list[_Place]) -> None:
        try:
            folder = folder_of(control, repository_id)
            _drop_old(folder)
            with control.database.read() as db:
                location = db.get_one(RepositoryRow, repository_id).location
            request = {
                "folder": str(folder),
                "points": [[place.row.id, place.newer, place.file] for place in places],
            }
            repository = control.repositories.get(repository_id)
            cache = control.settings.folder / "cache"
            with WorkerProcess(repository, location, cache, "names", request, nice=5) as worker:
                while (message := worker.receive(1.0)) is not None:
                    if control.stopping.is_set():
                        worker.cancel("the server is stopped")
                    if message["kind"] in {"done", "cancelled"}:
                        break
                    if message["kind"] == "message":
                        with self._lock:
                            self._failed[message["text"]] = time.monotonic()
                    if message["kind"] == "failed":
                        _log.warning("names not collected", what=message["what"], hint=message["hint"])
                        break
        except BackstayError as error:
            _log.warning("names not collected", what=error.what, hint=error.hint)
        finally:
            with self._lock:
                self._at_work.discard(repository_id)


_collector = _Collector()


def folder_of(control: Control, repository_id: str) -> Path:
    """Where the files of names of a repository are."""
    return control.settings.folder / "cache" / repository_id / "names"


def _drop_old(folder: Path) -> None:
    """Files that nobody used for longest go, so that all together stay bounded."""
    files = sorted(folder.glob("*.names"), key=lambda path: path.stat().st_mtime, reverse=True)
    size = 0
    for path in files:
        size += path.stat().st_size
        if size > _KEPT_BYTES:
            path.unlink(missing_ok=True)


def search(
    control: Control, wanted: Wanted, *, after: str = "", limit: int = 100, seconds: float = _SECONDS
) -> FoundNames:
    """Find a name; see NamePattern. A path is told with the newest point that has it.

    Args:
        after: as `next` of the answer before.
        seconds: after so long the answer is given with what was found.

    Raises:
        UsageError: the name or `after` makes no sense.
        StorageError.
    """
    if "/" in wanted.name or "\0" in wanted.name:
        raise UsageError("a name has no / in it", hint="search for the last part of the path alone")
    pattern = NamePattern(wanted.name)
    until = time.monotonic() + seconds
    begin, first_id, first_row = _parse(after)
    with control.database.read() as db:
        places = _places(db, wanted, begin, first_id)
    items: list[tuple[RestorePointRow, NameHit]] = []
    skipped: list[str] = []
    for number, place in enumerate(places):
        first = first_row if place.row.id == first_id else 0
        index = _opened(control, places[number : number + _BATCH], until)
        if index is None:
            if _collector.failed(place.file):
                skipped.append(place.row.id)
                continue
            return FoundNames(items, _cursor(place, first), preparing=True, skipped=skipped)
        with index:
            row = first
            for hit in index.find(pattern, first):
                if isinstance(hit, NameHit):
                    items.append((place.row, hit))
                    row = hit.row + 1
                else:
                    row = hit
                if len(items) >= limit or time.monotonic() >= until:
                    return FoundNames(items, _cursor(place, row), skipped=skipped)
    return FoundNames(items, None, skipped=skipped)


def _opened(control: Control, places: Sequence[_Place], until: float) -> NameIndex | None:
    """The file of the first place; made if that can be done in time."""
    place = places[0]
    folder = folder_of(control, place.row.repository_id)
    while True:
        try:
            return NameIndex(folder / place.file)
        except DamagedObject:
            (folder / place.file).unlink(missing_ok=True)
        except FileNotFoundError:
            pass
        if _collector.failed(place.file):
            return None
        same = [one for one in places if one.row.repository_id == place.row.repository_id]
        missing = [one for one in same if not (folder / one.file).exists()]
        _collector.want(control, place.row.repository_id, missing)
        if time.monotonic() >= until:
            return None
        time.sleep(_LOOK_EVERY)


def _places(db: Session, wanted: Wanted, begin: datetime | None, first_id: str) -> list[_Place]:
    query = (
        select(RestorePointRow)
        .join(RepositoryRow, RepositoryRow.id == RestorePointRow.repository_id)
        .where(RestorePointRow.expired_at.is_(None), RepositoryRow.reads.is_(True))
        .order_by(RestorePointRow.committed_at.desc(), RestorePointRow.id.desc())
        .options(joinedload(RestorePointRow.file_server), joinedload(RestorePointRow.backup_set))
    )
    if wanted.file_server_id is not None:
        query = query.where(RestorePointRow.file_server_id == wanted.file_server_id)
    if wanted.backup_set_id is not None:
        query = query.where(RestorePointRow.backup_set_id == wanted.backup_set_id)
    newer: dict[int, str] = {}
    places: list[_Place] = []
    for row in db.scalars(query):
        if begin is None or (row.committed_at, row.id) <= (begin, first_id):
            places.append(_Place(row, newer.get(row.backup_set_id)))
        newer[row.backup_set_id] = row.id
    return places


def _cursor(place: _Place, row: int) -> str:
    micros = (place.row.committed_at - _EPOCH) // timedelta(microseconds=1)
    return f"{micros}.{place.row.id}.{row}"


def _parse(after: str) -> tuple[datetime | None, str, int]:
    if not after:
        return None, "", 0
    try:
        micros, point_id, row = after.split(".")
        return _EPOCH + timedelta(microseconds=int(micros)), point_id, max(0, int(row))
    except (ValueError, OverflowError):
        raise UsageError(
            "this is no place to go on from", hint="give `next` of the answer before, or nothing"
        ) from None
