"""Index runs: which blob lies where, as sorted columns that are mapped into memory.

A run is immutable: a header, a table of packs, then the columns of its entries,
sorted by the 16-byte prefix of the blob id. An entry takes 32 bytes. All numbers
are little-endian:

    header   b"BSINDEX1", u64 entries, u32 packs, 12 zero bytes
    packs    32-byte digest, u64 size in bytes, u64 bit set of the blob kinds in it; once a pack
    columns  u64 prefix bytes 0-7, u64 prefix bytes 8-15 (both read as big-endian
             numbers), u32 pack, u32 frame, u32 offset, u32 length

In the repository a run is sealed with the catalogue key; mapped files lie in a
local cache (`index_cache`). Everything in a run can be rebuilt from pack trailers.
"""

from __future__ import annotations

import mmap
import sys
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from backstay.domain.errors import DamagedObject
from backstay.repository.encryption import check_magic
from backstay.repository.pack import PREFIX, Trailer
from backstay.system.calls import os

MAGIC = b"BSINDEX1"
HEADER_LENGTH = 32
PACK_LENGTH = 48
ENTRY_LENGTH = 32

_CHECKED_AT_ONCE = 1 << 16

RUN_ENTRIES = 1 << 17
"""A writing session turns its new entries into a run when it has this many."""


class Location(NamedTuple):
    """Where a blob lies: the pack's digest, the frame's number in it, and the place in its raw bytes."""

    pack: bytes
    frame: int
    offset: int
    length: int


class PackRecord(NamedTuple):
    """A pack as the index knows it: size in bytes, and a bit (1 << BlobKind) for each kind of blob in it."""

    digest: bytes
    size: int
    kinds: int


class RunBuilder:
    """Collects entries in memory until they are written as a run."""

    def __init__(self) -> None:
        self.packs: list[PackRecord] = []
        self._rows: dict[bytes, int] = {}
        self._doubles: list[tuple[bytes, int]] = []
        self._columns = [array("I"), array("I"), array("I"), array("I")]

    def __len__(self) -> int:
        return len(self._rows) + len(self._doubles)

    def __contains__(self, prefix: bytes) -> bool:
        return prefix in self._rows

    def add_pack(self, digest: bytes, size: int, trailer: Trailer) -> None:
        """Add every blob of a pack.

        A blob that lies in an earlier pack, too, gets a second entry: without it nobody would know
        that one of the two places is garbage, or may stand in for the other.
        """
        pack = len(self.packs)
        self.packs.append(PackRecord(digest, size, trailer.kind_bits()))
        rows, (packs, frames, offsets, lengths) = self._rows, self._columns
        ids, count = bytes(trailer.ids), len(trailer)
        prefixes = [ids[at : at + PREFIX] for at in range(0, 32 * count, 32)]
        if rows.keys().isdisjoint(prefixes) and len(set(prefixes)) == count:
            rows.update(zip(prefixes, range(len(packs), len(packs) + count), strict=True))
            packs.extend([pack] * count)
            frames.extend(trailer.frame_numbers)
            offsets.extend(trailer.offsets)
            lengths.extend(trailer.lengths)
            return
        again = set[bytes]()
        for row, prefix in enumerate(prefixes):
            first = rows.setdefault(prefix, len(packs))
            if first < len(packs):
                if packs[first] == pack or prefix in again:
                    continue
                again.add(prefix)
                self._doubles.append((prefix, len(packs)))
            packs.append(pack)
            frames.append(trailer.frame_numbers[row])
            offsets.append(trailer.offsets[row])
            lengths.append(trailer.lengths[row])

    def locate(self, prefix: bytes) -> Location | None:
        """Where the blob lies, or None."""
        row = self._rows.get(prefix)
        if row is None:
            return None
        packs, frames, offsets, lengths = self._columns
        return Location(self.packs[packs[row]].digest, frames[row], offsets[row], lengths[row])

    def encode(self) -> bytes:
        """The run's bytes."""
        rows = self._rows
        pairs = sorted([*rows.items(), *self._doubles]) if self._doubles else None
        ordered = [prefix for prefix, _ in pairs] if pairs else sorted(rows)
        prefixes = array("Q")
        prefixes.frombytes(b"".join(ordered))
        if sys.byteorder == "little":
            prefixes.byteswap()
        places = [row for _, row in pairs] if pairs else [rows[prefix] for prefix in ordered]
        columns = [array("I", map(column.__getitem__, places)) for column in self._columns]
        high, low = prefixes[::2], prefixes[1::2]
        header = (
            MAGIC + len(ordered).to_bytes(8, "little") + len(self.packs).to_bytes(4, "little") + bytes(12)
        )
        table = encode_packs(self.packs)
        return b"".join((header, table, *(_little(column) for column in (high, low, *columns))))


def encode_packs(packs: Iterable[PackRecord]) -> bytes:
    """The table of packs of a run."""
    return b"".join(
        pack.digest + pack.size.to_bytes(8, "little") + pack.kinds.to_bytes(8, "little") for pack in packs
    )


def _little(column: array[int]) -> bytes:
    if sys.byteorder == "big":
        column = column[:]
        column.byteswap()
    return column.tobytes()


class Run:
    """A run, mapped from a local file. Only the pages that look-ups touch are read.

    Raises:
        DamagedObject: the file is not a run of the size that its header says.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if sys.byteorder == "big":
            raise DamagedObject(str(path), "index runs can be mapped on little-endian machines only")
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            size = os.fstat(descriptor).st_size
            if size < HEADER_LENGTH:
                raise DamagedObject(str(path), "it is too short for an index run")
            self._map = mmap.mmap(descriptor, size, access=mmap.ACCESS_READ)
        finally:
            os.close(descriptor)
        view = memoryview(self._map)
        entries = int.from_bytes(view[8:16], "little")
        packs = int.from_bytes(view[16:20], "little")
        if view[:8] != MAGIC or size != HEADER_LENGTH + PACK_LENGTH * packs + ENTRY_LENGTH * entries:
            raise DamagedObject(str(path), "its header does not fit its size")
        self.entries = entries
        self.size = size
        at = HEADER_LENGTH + PACK_LENGTH * packs
        self._table = view[HEADER_LENGTH:at]
        self._high = view[at : at + 8 * entries].cast("Q")
        at += 8 * entries
        self._low = view[at : at + 8 * entries].cast("Q")
        at += 8 * entries
        self._columns = []
        for _ in range(4):
            self._columns.append(view[at : at + 4 * entries].cast("I"))
            at += 4 * entries
        self._pack_count = packs
        self._reach = 4 * int(entries**0.5) + 8

    def columns(self) -> list[memoryview]:
        """The six columns: prefix numbers (two), pack, frame, offset, length."""
        return [self._high, self._low, *self._columns]

    def packs(self) -> Iterator[PackRecord]:
        """Each pack that the run names, in the order of their numbers."""
        for at in range(0, PACK_LENGTH * self._pack_count, PACK_LENGTH):
            row = self._table[at : at + PACK_LENGTH]
            yield PackRecord(
                bytes(row[:32]), int.from_bytes(row[32:40], "little"), int.from_bytes(row[40:], "little")
            )

    def find(self, prefix: bytes) -> Iterator[Location]:
        """Every place of the blob in this run."""
        high = int.from_bytes(prefix[:8], "big")
        column, count = self._high, self.entries
        # Prefixes are uniform, so the place is known up to a few standard deviations:
        # a look-up touches one or two pages instead of one a bisection step.
        guess = (high * count) >> 64
        first = max(0, guess - self._reach)
        last = min(count, guess + self._reach)
        row = bisect_left(column, high, first, last)
        if (row == first and first) or (row == last and last < count):
            row = bisect_left(column, high)
        if row == count or column[row] != high:
            return
        low = int.from_bytes(prefix[8:], "big")
        while row < count and column[row] == high:
            if self._low[row] == low:
                pack, frame, offset, length = (values[row] for values in self._columns)
                if pack >= self._pack_count:
                    raise DamagedObject(str(self.path), "an entry names a pack that the run does not have")
                at = PACK_LENGTH * pack
                yield Location(bytes(self._table[at : at + 32]), frame, offset, length)
            row += 1


def check_run(encoded: bytes, name: str) -> None:
    """Require that a run's bytes are a run: of the size its header says, sorted, naming only packs it has.

    Raises:
        UnsupportedVersion: a later version of it.
        DamagedObject: `name`, the run as errors call it, is none.
    """
    check_magic(MAGIC, encoded, name)
    entries = int.from_bytes(encoded[8:16], "little")
    packs = int.from_bytes(encoded[16:20], "little")
    start = HEADER_LENGTH + PACK_LENGTH * packs
    if len(encoded) != start + ENTRY_LENGTH * entries:
        raise DamagedObject(name, "its header does not fit its size")
    if sys.byteorder == "big":
        return
    view = memoryview(encoded)
    high = view[start : start + 8 * entries].cast("Q")
    numbers = view[start + 16 * entries : start + 20 * entries].cast("I")
    for at in range(0, entries, _CHECKED_AT_ONCE):
        # One more than a block, so that its last entry is compared with the next block's first.
        block = high[at : at + _CHECKED_AT_ONCE + 1].tolist()
        if block != sorted(block):
            raise DamagedObject(name, "its entries are not sorted")
        if max(numbers[at : at + _CHECKED_AT_ONCE]) >= packs:
            raise DamagedObject(name, "an entry names a pack that it does not have")


def packs_of(encoded: bytes) -> list[PackRecord]:
    """The table of packs of a run that `check_run` found to be one."""
    count = int.from_bytes(encoded[16:20], "little")
    rows = [
        encoded[at : at + PACK_LENGTH]
        for at in range(HEADER_LENGTH, HEADER_LENGTH + PACK_LENGTH * count, PACK_LENGTH)
    ]
    return [
        PackRecord(row[:32], int.from_bytes(row[32:40], "little"), int.from_bytes(row[40:], "little"))
        for row in rows
    ]


class Index:
    """All that a process knows about blobs: mapped runs, and what it wrote itself since.

    Args:
        runs: mapped runs, largest first.
        condemned: digests of packs whose blobs must not be relied upon any more
            (tombstoned); look-ups for reading still find them, `__contains__` does not.
        sources: digests of the run objects in the repository that `runs` stand for.
    """

    def __init__(
        self,
        runs: list[Run],
        condemned: frozenset[bytes] = frozenset(),
        sources: frozenset[bytes] = frozenset(),
    ) -> None:
        self.runs = runs
        self.condemned = condemned
        self.sources = sources
        self.recent: list[RunBuilder] = []

    def __contains__(self, blob_id: bytes) -> bool:
        prefix = blob_id[:PREFIX]
        for builder in self.recent:
            if prefix in builder:
                return True
        condemned = self.condemned
        for run in self.runs:
            for location in run.find(prefix):
                if not condemned or location.pack not in condemned:
                    return True
        return False

    def locations(self, blob_id: bytes) -> Iterator[Location]:
        """Every place of the blob, those in packs that stay first."""
        prefix = blob_id[:PREFIX]
        condemned: list[Location] = []
        for builder in self.recent:
            recent = builder.locate(prefix)
            if recent is not None:
                yield recent
        for run in self.runs:
            for location in run.find(prefix):
                if location.pack in self.condemned:
                    condemned.append(location)
                else:
                    yield location
        yield from condemned

    def locate(self, blob_id: bytes) -> Location | None:
        """The first of `locations`, or None if the blob is unknown."""
        return next(self.locations(blob_id), None)

    def packs(self) -> dict[bytes, PackRecord]:
        """Every pack that the index names, by digest."""
        known: dict[bytes, PackRecord] = {}
        for packs in (*(run.packs() for run in self.runs), *(builder.packs for builder in self.recent)):
            for pack in packs:
                before = known.get(pack.digest, pack)
                # Who denies that there is metadata in a pack would have it collected: all are believed.
                known[pack.digest] = pack._replace(kinds=pack.kinds | before.kinds)
        return known
