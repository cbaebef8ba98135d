"""The pieces of content of a plan, put in the order in which the repository holds them.

A piece says that a blob belongs at some place of a file. Sorted by pack (in the order of
first need) and frame, every frame is fetched and decoded once, and whatever needs it
is written then.
"""

import mmap
import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from backstay.repository.bulk_lookup import BulkLookup
from backstay.repository.index import Index
from backstay.restore.spool import no_room, temporary_file
from backstay.system.calls import os
from backstay.system.host import forget_pages

_PIECE: Final = struct.Struct("<QIIQQ32s")
_DTYPE: Final = np.dtype(
    [
        ("key", "<u8"),
        ("offset", "<u4"),
        ("length", "<u4"),
        ("file", "<u8"),
        ("at", "<u8"),
        ("blob", "V32"),
    ]
)
_BLOCK: Final = 1 << 15
_FRAMES_A_BATCH: Final = 16


class Piece(NamedTuple):
    """A blob that belongs in a file.

    Attributes:
        key: number of the pack, shifted by 32 bits, and the frame.
        offset: where the blob begins in the frame's raw bytes.
        length: of the blob.
        file: offset of the file's record in its spool.
        at: where the blob belongs in the file.
        blob: its id.
    """

    key: int
    offset: int
    length: int
    file: int
    at: int
    blob: bytes


class FrameNeed(NamedTuple):
    """A frame and the rows of the pieces that need it."""

    number: int
    start: int
    stop: int


class Batch(NamedTuple):
    """Neighbouring frames of one pack; None stands for blobs that the index does not know."""

    pack: bytes | None
    frames: list[FrameNeed]


class Pieces:
    """Collects pieces, then gives them back in order."""

    def __init__(self) -> None:
        self._file = temporary_file()
        self._count = 0
        self._packs: list[bytes] = []

    def __len__(self) -> int:
        return self._count

    def add(self, blob: bytes, length: int, file: int, at: int) -> None:
        """Add a piece. Raises TargetError where the temporary folder is full."""
        self._count += 1
        try:
            self._file.write(_PIECE.pack(0, 0, length, file, at, blob))
        except OSError as error:
            raise no_room(error) from error

    def arrange(self, index: Index) -> None:
        """Find every blob and sort the pieces. Raises TargetError where the temporary folder is full."""
        try:
            self._file.flush()
            keys = self._locate(index)
            if len(keys) > 1 and bool((keys[1:] < keys[:-1]).any()):
                self._sort(np.argsort(keys, kind="stable"))
        except OSError as error:
            raise no_room(error) from error

    def _locate(self, index: Index) -> npt.NDArray[np.uint64]:
        lookup = BulkLookup(index)
        keys = np.empty(self._count, np.uint64)
        for start in range(0, self._count, _BLOCK):
            block = self._block(start, min(start + _BLOCK, self._count)).copy()
            block["key"], block["offset"] = lookup.locate(block["blob"])
            keys[start : start + len(block)] = block["key"]
            os.pwrite(self._file.fileno(), block.tobytes(), start * _DTYPE.itemsize)
        self._packs = lookup.packs
        return keys

    def _sort(self, order: npt.NDArray[np.intp]) -> None:
        sorted_file = temporary_file()
        with mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            for start in range(0, self._count, _BLOCK):
                rows = np.frombuffer(mapped, _DTYPE)[order[start : start + _BLOCK]]
                sorted_file.write(rows.tobytes())
                # What was touched would otherwise stay in memory: the file may be as large as it likes.
                forget_pages(mapped)
        sorted_file.flush()
        self._file.close()
        self._file = sorted_file

    def _block(self, start: int, stop: int) -> npt.NDArray[np.void]:
        size = _DTYPE.itemsize
        data = os.pread(self._file.fileno(), (stop - start) * size, start * size)
        return np.frombuffer(data, _DTYPE)

    def between(self, start: int, stop: int) -> Iterator[Piece]:
        """The pieces of these rows."""
        for first in range(start, stop, _BLOCK):
            for row in self._block(first, min(first + _BLOCK, stop)).tolist():
                yield Piece(*row)

    def batches(self) -> Iterator[Batch]:
        """All that is needed, a few frames at a time."""
        pack, frames = -1, list[FrameNeed]()
        for key, start, stop in self._frames():
            if key >> 32 != pack or len(frames) >= _FRAMES_A_BATCH:
                if frames:
                    yield self._batch(pack, frames)
                pack, frames = key >> 32, []
            frames.append(FrameNeed(key & 0xFFFFFFFF, start, stop))
        if frames:
            yield self._batch(pack, frames)

    def _batch(self, pack: int, frames: list[FrameNeed]) -> Batch:
        return Batch(self._packs[pack] if pack < len(self._packs) else None, frames)

    def _frames(self) -> Iterator[tuple[int, int, int]]:
        """Every frame's key, with the first of its rows and the one after its last."""
        current, began = -1, 0
        for start in range(0, self._count, _BLOCK):
            keys = self._block(start, min(start + _BLOCK, self._count))["key"]
            changes = np.flatnonzero(keys[1:] != keys[:-1]) + 1
            for row in (0, *changes.tolist()):
                key = int(keys[row])
                if key != current:
                    if current >= 0:
                        yield current, began, start + row
                    current, began = key, start + row
        if current >= 0:
            yield current, began, self._count

    def close(self) -> None:
        """Remove the temporary file."""
        self._file.close()
