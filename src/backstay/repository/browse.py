"""Looking into restore points: folders, searches, all versions of one file."""

from collections.abc import Callable, Iterable, Iterator
from fnmatch import fnmatchcase
from typing import NamedTuple

from backstay.domain.entry import Entry, Grade
from backstay.domain.errors import UsageError
from backstay.repository.blob_source import BlobSource
from backstay.repository.content import FileContent
from backstay.repository.manifest import RestorePoint
from backstay.repository.repository import Repository
from backstay.repository.tree import find_entry, iterate_folder
from backstay.system.calls import os


class Found(NamedTuple):
    """An entry of a restore point, with its absolute path there."""

    point: RestorePoint
    path: bytes
    entry: Entry


class Version(NamedTuple):
    """One version of a file, and the restore points that hold it, oldest first."""

    entry: Entry
    points: list[RestorePoint]

    @property
    def grade(self) -> Grade:
        """How good the version is."""
        return Grade(self.entry.grade)


class Browser:
    """Reads the trees of a repository's restore points.

    Attributes:
        read: reads a blob by its id, also while a prune moves it.

    Every method may raise DamagedObject, KeyMissing and StorageError.
    """

    def __init__(self, blobs: Repository | BlobSource) -> None:
        source = blobs if isinstance(blobs, BlobSource) else BlobSource(blobs)
        self.read = source.read

    def find_path(self, point: RestorePoint, path: bytes) -> Entry | None:
        """The entry at an absolute path, or None; `/` gives a folder without a name."""
        entry = root_of(point)
        for name in components(path):
            if entry.page is None:
                return None
            below = find_entry(entry.page, name, self.read)
            if below is None:
                return None
            entry = below
        return entry

    def require(self, point: RestorePoint, path: bytes) -> Entry:
        """The entry at an absolute path. Raises UsageError where there is none."""
        entry = self.find_path(point, path)
        if entry is None:
            raise UsageError(
                f"{os.fsdecode(path)!r} is not in restore point {point.short_id}",
                hint="`backstay repo files` shows what is in it",
            )
        return entry

    def list_folder(self, folder: Entry) -> Iterator[Entry]:
        """What is in a folder, sorted by name; nothing where it could not be read when it was backed up."""
        if folder.page is not None:
            yield from iterate_folder(folder.page, self.read)

    def walk(self, point: RestorePoint, path: bytes = b"/") -> Iterator[Found]:
        """The entry at `path` (but for `/` itself) and all below it, a folder before what is in it.

        Raises:
            UsageError: there is no such path.
        """
        entry = self.require(point, path)
        names = components(path)
        place = b"/" + b"/".join(names)
        if names:
            yield Found(point, place, entry)
        for below, found in walk_folder(entry, place, self.read):
            yield Found(point, below, found)

    def find(self, points: Iterable[RestorePoint], pattern: str, path: bytes = b"/") -> Iterator[Found]:
        """All entries below `path` that fit a pattern, point by point.

        Args:
            pattern: with `*`, `?` or `[`, a shell pattern for the name, or for the whole path where it has
                a `/`; otherwise a part of the name. Upper and lower case count the same.
        """
        fits = pattern_matcher(pattern)
        for point in points:
            if self.find_path(point, path) is None:
                continue
            for found in self.walk(point, path):
                if fits(found.path):
                    yield found

    def versions(self, points: Iterable[RestorePoint], path: bytes) -> list[Version]:
        """Every distinct version of a path, oldest first; points without it are left out.

        Versions are distinct where content, size or modification time differ.
        """
        found: dict[tuple[object, ...], Version] = {}
        for point in points:
            entry = self.find_path(point, path)
            if entry is None:
                continue
            key = (entry.mode & 0o170000, entry.size, entry.mtime_ns, entry.inline, entry.chunks, entry.page)
            found.setdefault(key, Version(entry, [])).points.append(point)
        return list(found.values())

    def open_content(self, entry: Entry) -> FileContent:
        """Random access to a file's content. Raises RepositoryError where there is none."""
        return FileContent(entry, self.read)


def components(path: bytes) -> list[bytes]:
    """The names in an absolute path; `.` and `..` resolved."""
    return [name for name in os.path.normpath(b"/" + path).split(b"/") if name]


def root_of(point: RestorePoint) -> Entry:
    """A folder without a name that stands for the root of the restore point."""
    manifest = point.manifest
    return Entry(
        b"",
        0o040755,
        0,
        0,
        0,
        manifest.time_ns,
        manifest.time_ns,
        0,
        1,
        page=manifest.root,
        totals=manifest.totals,
    )


def walk_folder(folder: Entry, path: bytes, read: Callable[[bytes], bytes]) -> Iterator[tuple[bytes, Entry]]:
    """Everything below a folder with its path, at any depth."""
    if folder.page is None:
        return
    levels = [(path.rstrip(b"/") + b"/", iterate_folder(folder.page, read))]
    while levels:
        above, entries = levels[-1]
        entry = next(entries, None)
        if entry is None:
            levels.pop()
            continue
        yield above + entry.name, entry
        if entry.page is not None:
            levels.append((above + entry.name + b"/", iterate_folder(entry.page, read)))


def pattern_matcher(pattern: str) -> Callable[[bytes], bool]:
    """Whether an absolute path fits a pattern, as `Browser.find` understands it."""
    wanted = pattern.casefold()
    if not any(sign in wanted for sign in "*?["):
        return lambda path: wanted in os.fsdecode(path.rpartition(b"/")[2]).casefold()
    if "/" in wanted:
        return lambda path: fnmatchcase(os.fsdecode(path).casefold(), wanted)
    return lambda path: fnmatchcase(os.fsdecode(path.rpartition(b"/")[2]).casefold(), wanted)
