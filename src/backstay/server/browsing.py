"""Looking into restore points: folders, versions, differences. Needs the repository's private key."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from sqlalchemy import select
from sqlalchemy.orm import Session

from backstay.domain.entry import Entry
from backstay.domain.errors import DamagedObject, KeyMissing, NotFound, ObjectNotFound
from backstay.repository.browse import Browser, components
from backstay.repository.compare import Difference, compare_points
from backstay.repository.layout import MANIFESTS, object_name
from backstay.repository.listing import entries_after
from backstay.repository.manifest import RestorePoint, decode_manifest
from backstay.repository.repository import Repository
from backstay.repository.tree import ReadBlob
from backstay.server.catalogue import get_restore_point
from backstay.server.control import Control
from backstay.server.tables import RestorePointRow

_MANIFESTS_KEPT = 4096


@dataclass(frozen=True)
class OpenPoint:
    """A restore point, ready to be read."""

    point: RestorePoint
    browser: Browser

    @property
    def read(self) -> ReadBlob:
        """Reads a blob by its id, also while a prune moves it."""
        return self.browser.read

    @property
    def id(self) -> str:
        """Its id, 64 hexadecimal digits."""
        return self.point.id.hex()


@dataclass(frozen=True)
class FolderPage:
    """Some entries of a folder, sorted by name; `next`: the name to go on after, None at the end."""

    folder: Entry
    entries: list[Entry]
    next: bytes | None


@dataclass(frozen=True)
class FileVersion:
    """One version of a path, and the restore points that have it, the newest first."""

    entry: Entry
    points: list[RestorePointRow]


def open_point(control: Control, repository_id: str, point_id: str) -> OpenPoint:
    """Open a restore point that the catalogue knows.

    Raises:
        NotFound: the repository has it no more.
        KeyMissing: the server holds no private key of the repository.
        DamagedObject, StorageError.
    """
    repository = control.repositories.get(repository_id)
    if not repository.secrets.can_read:
        raise KeyMissing(
            "this server holds no private key of the repository, so it cannot show what is in it",
            hint="use `backstay repo` with a passphrase or the recovery key",
        )
    source = control.repositories.source(repository_id, point_id)
    try:
        return OpenPoint(_manifest(repository, point_id), Browser(source))
    except ObjectNotFound:
        raise NotFound(
            f"the restore point {point_id[:10]} is in the repository no more",
            hint="a verify says what else is missing",
        ) from None


def find_point(control: Control, point_id: str) -> tuple[RestorePointRow, OpenPoint]:
    """The restore point of this id, or of the only id that begins so. Raises NotFound and as `open_point`."""
    with control.database.read() as db:
        row = get_restore_point(db, point_id)
        _ = row.file_server.name, row.backup_set.name
    return row, open_point(control, row.repository_id, row.id)


@lru_cache(maxsize=_MANIFESTS_KEPT)
def _manifest(repository: Repository, point_id: str) -> RestorePoint:
    """A manifest never changes, and the catalogue, which is asked first, knows which are there."""
    name = object_name(MANIFESTS, bytes.fromhex(point_id))
    return decode_manifest(repository.storage.get(name), repository.secrets.catalogue_key, name)


def find_path(opened: OpenPoint, path: bytes) -> Entry:
    """The entry at an absolute path; `/` gives a folder without a name. Raises NotFound, DamagedObject."""
    entry = opened.browser.find_path(opened.point, path)
    if entry is None:
        raise NotFound(
            f"{path.decode('utf-8', 'replace')!r} is not in the restore point {opened.point.short_id}",
            hint="list its folder to see what is in it",
        )
    return entry


def list_folder(opened: OpenPoint, path: bytes, *, after: bytes = b"", limit: int = 1000) -> FolderPage:
    """Entries of a folder after a name; of a large folder only the pages that hold them are read.

    Raises:
        NotFound: there is no such folder.
        DamagedObject, StorageError.
    """
    folder = find_path(opened, path)
    if not folder.is_directory:
        raise NotFound(f"{path.decode('utf-8', 'replace')!r} is no folder", hint="ask for the entry instead")
    if folder.page is None:
        return FolderPage(folder, [], None)
    entries = list(itertools.islice(entries_after(folder.page, after, opened.read), limit + 1))
    more = len(entries) > limit
    return FolderPage(folder, entries[:limit], entries[limit - 1].name if more else None)


def points_of_set(db: Session, backup_set_id: int, *, most: int = 500) -> list[RestorePointRow]:
    """The newest restore points of a set, the newest first."""
    rows = db.scalars(
        select(RestorePointRow)
        .where(RestorePointRow.backup_set_id == backup_set_id, RestorePointRow.expired_at.is_(None))
        .order_by(RestorePointRow.committed_at.desc(), RestorePointRow.id.desc())
        .limit(most)
    )
    return list(rows)


def versions(control: Control, rows: Sequence[RestorePointRow], path: bytes) -> list[FileVersion]:
    """Every version of a path in these points, the newest first; points without it are left out.

    Versions differ where content, kind, size or modification time do.
    """
    found: dict[tuple[object, ...], FileVersion] = {}
    for row in rows:
        try:
            entry = find_path(open_point(control, row.repository_id, row.id), path)
        except NotFound:
            continue
        except DamagedObject:
            # The other versions are all the more wanted; that this point is damaged is shown with it.
            continue
        key = (entry.mode & 0o170000, entry.size, entry.mtime_ns, entry.inline, entry.chunks, entry.page)
        found.setdefault(key, FileVersion(entry, [])).points.append(row)
    return list(found.values())


def differences(
    before: OpenPoint, after: OpenPoint, *, after_path: bytes = b"", limit: int = 1000
) -> tuple[list[Difference], bytes | None]:
    """What differs between two points, by path, and the path to go on after, None at the end."""
    place = components(after_path)
    found: Iterator[Difference] = compare_points(before.point, after.point, after.read)
    if place:
        found = itertools.dropwhile(lambda one: components(one.path) <= place, found)
    some = list(itertools.islice(found, limit + 1))
    return some[:limit], some[limit - 1].path if len(some) > limit else None
