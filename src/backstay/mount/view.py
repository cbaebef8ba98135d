"""The tree that a mount shows: file server / backup set / restore point / path.

    files.example.org/default/2026-03-01T13-05-09 663a8c09fb/srv/data/report.odt
    files.example.org/default/latest -> 2026-03-01T13-05-09 663a8c09fb

Times are UTC. Restore points that are made or taken out meanwhile come and go.
"""

import time
from collections.abc import Callable, Iterator
from threading import Lock
from typing import Final

from blake3 import blake3

from backstay.domain.entry import Entry
from backstay.mount.blobs import LiveBlobs
from backstay.mount.page_cache import PageCache
from backstay.repository.browse import root_of
from backstay.repository.content import FileContent
from backstay.repository.layout import MANIFESTS
from backstay.repository.manifest import LATEST, RestorePoint
from backstay.repository.repository import Repository
from backstay.repository.tree import iterate_folder

_LATEST: Final = LATEST.encode()
_DEPTH: Final = 3
"""Folders above the root of a restore point: file server, set, point."""

_LOOK_SECONDS: Final = 5.0
"""The storage is asked for new restore points no more often than this."""

_FOLDER: Final = 0o040555
_LINK: Final = 0o120777

_Points = dict[bytes, dict[bytes, dict[bytes, RestorePoint]]]


class View:
    """Answers what is where. Safe to use from several threads.

    Paths are absolute, as bytes. Every method may raise DamagedObject, UnsupportedVersion,
    KeyMissing and StorageError.

    Args:
        clock: seconds that only grow.
    """

    def __init__(self, repository: Repository, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._repository = repository
        self._clock = clock
        self._blobs = LiveBlobs(repository, clock=clock)
        self._pages = PageCache(self._blobs.read)
        self._lock = Lock()
        self._looked = clock()
        self._objects = self._manifests()
        self._points = _by_place(repository.points())

    def find(self, path: bytes) -> Entry | None:
        """The entry at a path, or None."""
        names = _names(path)
        if len(names) <= _DEPTH:
            if names[-1:] == [_LATEST]:
                self._look()
            found = self._find_above(names)
            if found is None and self._look():
                found = self._find_above(names)
            return found
        point = self._points.get(names[0], {}).get(names[1], {}).get(names[2])
        entry = root_of(point) if point is not None else None
        for name in names[_DEPTH:]:
            if entry is None or entry.page is None:
                return None
            entry = self._pages.find(entry.page, name)
        return entry

    def list_folder(self, path: bytes) -> Iterator[Entry]:
        """What is in the folder at a path; nothing where it is none, or could not be read when backed up."""
        names = _names(path)
        if len(names) >= _DEPTH:
            folder = self.find(path)
            return iter(()) if folder is None or folder.page is None else self._folder(folder.page)
        self._look()
        return iter(self._list_above(names))

    def _folder(self, page: bytes) -> Iterator[Entry]:
        return iterate_folder(page, self._blobs.read)

    def content(self, entry: Entry) -> FileContent:
        """Random access to a regular file. Raises RepositoryError where no content of it was captured."""
        return FileContent(entry, self._blobs.read)

    def _find_above(self, names: list[bytes]) -> Entry | None:
        if not names:
            return _folder_entry(b"", self._all_points())
        for entry in self._list_above(names[:-1]):
            if entry.name == names[-1]:
                return entry
        return None

    def _list_above(self, names: list[bytes]) -> list[Entry]:
        points = self._points
        if not names:
            return [
                _folder_entry(server, [one for points in sets.values() for one in points.values()])
                for server, sets in points.items()
            ]
        sets = points.get(names[0], {})
        if len(names) == 1:
            return [_folder_entry(name, list(some.values())) for name, some in sets.items()]
        of_set = sets.get(names[1], {})
        entries = [root_of(point)._replace(name=name) for name, point in of_set.items()]
        if of_set:
            name, newest = list(of_set.items())[-1]
            entries.append(_link_entry(_LATEST, name, newest.manifest.time_ns))
        return entries

    def _all_points(self) -> list[RestorePoint]:
        return [one for sets in self._points.values() for points in sets.values() for one in points.values()]

    def _look(self) -> bool:
        """See whether there are other restore points now; at most once in a while."""
        with self._lock:
            if self._clock() - self._looked < _LOOK_SECONDS:
                return False
            self._looked = self._clock()
            objects = self._manifests()
            if objects == self._objects:
                return False
            self._objects = objects
            points = self._repository.points()
            self._blobs.reload()
            self._points = _by_place(points)
            return True

    def _manifests(self) -> set[str]:
        return {info.name for info in self._repository.storage.list(MANIFESTS)}


def inode_of(path: bytes, entry: Entry) -> int:
    """A number for st_ino: one for all names of a file in a restore point, and one for each other path.

    Names belong together where device, inode, type and content agree, as in a restore.
    """
    if entry.nlink < 2 or entry.is_directory:
        return _number(path)
    content = entry.inline or b"".join(chunk.blob or b"" for chunk in entry.chunks or ())
    point = b"/".join(path.split(b"/", _DEPTH + 1)[: _DEPTH + 1])
    return _number(b"%b\0%d %d %d %b" % (point, entry.device, entry.inode, entry.mode, content))


def _number(key: bytes) -> int:
    return int.from_bytes(blake3(key).digest(length=8), "big") >> 1 or 1


def _names(path: bytes) -> list[bytes]:
    return [name for name in path.split(b"/") if name]


def _by_place(points: list[RestorePoint]) -> _Points:
    placed: _Points = {}
    for point in points:
        sets = placed.setdefault(_as_name(point.manifest.file_server), {})
        sets.setdefault(_as_name(point.manifest.backup_set), {})[point_name(point)] = point
    return placed


def point_name(point: RestorePoint) -> bytes:
    """The folder of a restore point: its time in UTC, so that names sort, and its short id."""
    moment = time.gmtime(point.manifest.time_ns // 1_000_000_000)
    return f"{time.strftime('%Y-%m-%dT%H-%M-%S', moment)} {point.short_id}".encode()


def _as_name(text: str) -> bytes:
    """A name for a folder: what cannot be in one is written as in a URL."""
    name = text.replace("%", "%25").replace("/", "%2F").replace("\0", "%00")
    return (name.replace(".", "%2E") if name in {"", ".", ".."} else name).encode("utf-8", "surrogateescape")


def _folder_entry(name: bytes, points: list[RestorePoint]) -> Entry:
    newest = max((point.manifest.time_ns for point in points), default=0)
    return Entry(name, _FOLDER, 0, 0, 0, newest, newest, 0, 2)


def _link_entry(name: bytes, target: bytes, time_ns: int) -> Entry:
    return Entry(name, _LINK, 0, 0, len(target), time_ns, time_ns, 0, 1, inline=target)
