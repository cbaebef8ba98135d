"""Names of a restore point in one file that is searched in memory: a million names in a few milliseconds.

    b"BSNAMES1"  rows, bytes of all names, bytes of all paths: u64 each
    columns: where each name begins (u64), where each path begins (u64), size (i64), mtime_ns (i64), kind (u8)
    names in lower case, each behind a NUL; then paths, each behind a NUL

Numbers are little-endian. A point after the newest holds only what its newer neighbour has no more, so that a
hundred points of one set take little more room than one. The files are caches: they can be deleted at any
time.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from array import array
from collections.abc import Iterator
from fnmatch import translate
from pathlib import Path
from re import compile as compile_pattern
from typing import IO, NamedTuple

import numpy as np
import numpy.typing as npt

from backstay.domain.entry import Entry
from backstay.domain.errors import DamagedObject
from backstay.repository.browse import root_of, walk_folder
from backstay.repository.compare import Change, compare_points
from backstay.repository.manifest import RestorePoint
from backstay.repository.tree import ReadBlob

MAGIC = b"BSNAMES1"
_HEAD = len(MAGIC) + 24
_FOLDER = 1
_WILD = "*?["
_COPY = 1 << 20


class NameHit(NamedTuple):
    """A path that was found, its number in the file, and what is known of it."""

    row: int
    path: bytes
    is_folder: bool
    size: int
    mtime_ns: int


class NamePattern:
    """Part of a name, or with `*`, `?` or `[` a shell pattern for all of it; case counts for nothing."""

    def __init__(self, text: str) -> None:
        wanted = text.casefold()
        self._glob = compile_pattern(translate(wanted)) if any(sign in wanted for sign in _WILD) else None
        self.literal = _folded_text(_longest_literal(wanted) if self._glob else wanted)

    def fits(self, folded: bytes) -> bool:
        """Whether a name, in lower case, fits; that it has `literal` in it is known."""
        return self._glob is None or self._glob.match(folded.decode("utf-8", "surrogateescape")) is not None


def _longest_literal(pattern: str) -> str:
    """The longest run of the pattern that stands for itself."""
    runs, run, depth = [""], "", False
    for sign in pattern:
        if sign == "[":
            # What is in brackets is left to the pattern, and all that may be in them by mistake.
            depth = True
        if depth or sign in _WILD:
            runs.append(run)
            run = ""
        else:
            run += sign
        if sign == "]":
            depth = False
    return max([*runs, run], key=len)


def _folded_text(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def folded(name: bytes) -> bytes:
    """A name as searches compare it."""
    return _folded_text(name.decode("utf-8", "surrogateescape").casefold())


def write_name_index(target: Path, point: RestorePoint, newer: RestorePoint | None, read: ReadBlob) -> int:
    """Write the names of a point, or where `newer` is given only of what that one has no more.

    Returns:
        How many.

    Raises:
        DamagedObject, KeyMissing, StorageError.
    """
    if newer is None:
        entries = walk_folder(root_of(point), b"/", read)
    else:
        differences = compare_points(point, newer, read)
        entries = (
            (one.path, one.before)
            for one in differences
            if one.change is Change.REMOVED and one.before is not None
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile() as names, tempfile.TemporaryFile() as paths:
        columns = _collect(entries, names, paths)
        descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=".names-")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(MAGIC)
                for number in (len(columns[4]), names.tell(), paths.tell()):
                    file.write(number.to_bytes(8, "little"))
                for column in columns:
                    column.tofile(file)
                for part in (names, paths):
                    part.seek(0)
                    while piece := part.read(_COPY):
                        file.write(piece)
            Path(temporary).replace(target)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    return len(columns[4])


def _collect(
    entries: Iterator[tuple[bytes, Entry]], names: IO[bytes], paths: IO[bytes]
) -> tuple[array[int], ...]:
    name_starts, path_starts = array("Q"), array("Q")
    sizes, times, kinds = array("q"), array("q"), array("B")
    name_end = path_end = 0
    for path, entry in entries:
        name = b"\0" + folded(entry.name)
        names.write(name)
        paths.write(b"\0" + path)
        name_starts.append(name_end)
        path_starts.append(path_end)
        name_end += len(name)
        path_end += len(path) + 1
        sizes.append(entry.totals.bytes if entry.totals is not None else entry.size)
        times.append(entry.mtime_ns)
        kinds.append(_FOLDER if entry.is_directory else 0)
    return name_starts, path_starts, sizes, times, kinds


class NameIndex:
    """A file of names, mapped. Use it as a context manager.

    Raises:
        DamagedObject: the file is cut short or none of ours.
        FileNotFoundError: there is none.
    """

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size < _HEAD:
                raise DamagedObject(path.name, "it is cut short", hint="delete it; it is made anew")
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        head = self._map[:_HEAD]
        rows, names, paths = (int.from_bytes(head[at : at + 8], "little") for at in (8, 16, 24))
        if head[:8] != MAGIC or size != _HEAD + 33 * rows + names + paths:
            self._map.close()
            raise DamagedObject(path.name, "it is cut short", hint="delete it; it is made anew")
        self.rows = rows
        self._name_starts = self._column("<i8", 0)
        self._names = _HEAD + 33 * rows
        self._paths = self._names + names
        self._end = size

    def _column(self, kind: str, place: int) -> npt.NDArray[np.generic]:
        column: npt.NDArray[np.generic] = np.frombuffer(
            self._map, kind, self.rows, _HEAD + 8 * place * self.rows
        )
        return column

    def __enter__(self) -> NameIndex:
        return self

    def __exit__(self, *_: object) -> None:
        del self._name_starts
        self._map.close()

    def find(self, pattern: NamePattern, first: int = 0) -> Iterator[NameHit | int]:
        """What fits, in order, from row `first` on; now and then the row that is looked at next."""
        row = first
        looked = 0
        while row < self.rows:
            if pattern.literal:
                at = self._map.find(pattern.literal, self._name_at(row), self._paths)
                if at < 0:
                    return
                row = int(np.searchsorted(self._name_starts, at - self._names, "right")) - 1
            if pattern.fits(self._map[self._name_at(row) + 1 : self._name_at(row + 1)]):
                yield self._hit(row)
            looked += 1
            if looked % 1000 == 0:
                yield row + 1
            row += 1

    def _name_at(self, row: int) -> int:
        return self._names + int(self._name_starts[row]) if row < self.rows else self._paths

    def _number(self, place: int, row: int, *, signed: bool) -> int:
        at = _HEAD + 8 * (place * self.rows + row)
        return int.from_bytes(self._map[at : at + 8], "little", signed=signed)

    def _hit(self, row: int) -> NameHit:
        begin = self._paths + self._number(1, row, signed=False)
        end = self._paths + self._number(1, row + 1, signed=False) if row + 1 < self.rows else self._end
        kind = self._map[_HEAD + 32 * self.rows + row]
        return NameHit(
            row,
            self._map[begin + 1 : end],
            kind == _FOLDER,
            self._number(2, row, signed=True),
            self._number(3, row, signed=True),
        )
