"""One regular file into blobs: read it, notice whether it changes meanwhile, cut it, store its pieces."""

import stat
import time
from collections.abc import Callable
from typing import NamedTuple, Protocol

from backstay.backup.windows import Windows
from backstay.domain.entry import Chunk, FileStat
from backstay.filesystem.reader import read_extent, read_into, same_version
from backstay.filesystem.sparse import data_extents
from backstay.repository.chunker import SMALL_FILE, Chunker
from backstay.repository.pack import BlobKind
from backstay.repository.tree import ChunkList
from backstay.storage.interface import Buffer
from backstay.system.calls import os
from backstay.system.host import TICK_NS, stamp_time_ns

INLINE = 512
"""Content up to this many bytes is kept in the entry itself."""

_ATTEMPTS = 3
_ZEROS = bytes(4096)
_REPEAT_UP_TO = 64 << 20


class Content(NamedTuple):
    """What was read of a file.

    Attributes:
        stat: the file's stat that belongs to the content.
        device: st_dev.
        inline, chunks: as in Entry; exactly one is given.
        size: bytes of content.
        changed: the file went on changing while it was read.
        read_bytes: bytes that were read in all.
    """

    stat: os.stat_result
    inline: bytes | None
    chunks: tuple[Chunk, ...] | None
    size: int
    changed: bool
    read_bytes: int


class ContentSink(Protocol):
    """Where content goes: a Packer."""

    def put(self, kind: BlobKind, data: Buffer, references: bytes) -> bytes:
        """Store a blob, and return its id."""

    def room(self, length: int) -> memoryview:
        """Where a small file may be read into."""

    def put_room(self, length: int) -> bytes:
        """Store what was read into the room, and return its id."""


class OtherKind(Exception):
    """The name no longer stands for a regular file."""


class ContentReader:
    """Reads files and puts their content.

    Args:
        pulse: called every few megabytes of a large file, with the bytes read of it so far.
    """

    def __init__(
        self, sink: ContentSink, id_key: bytes, pulse: Callable[[int], None] = lambda read_bytes: None
    ) -> None:
        self._sink = sink
        self._pulse = pulse
        self._chunker = Chunker(id_key)
        self._windows = Windows()

    def read(self, fd: int, seen: FileStat) -> Content:
        """The content of the open file that the scan saw as `seen`.

        A file that changes meanwhile is read again, up to three times where it is small.

        Raises:
            OSError: it cannot be read.
            OtherKind: it is not a regular file any more.
            StorageError: the content could not be stored.
        """
        size, read_bytes = seen.size, 0
        before: os.stat_result | None = None
        for attempt in range(1, _ATTEMPTS + 1):
            began_ns = stamp_time_ns()
            if size <= SMALL_FILE:
                room = self._sink.room(size)
                got = read_into(fd, 0, room)
                after = os.fstat(fd)
                inline, chunks, got = self._whole(fd, room, got, after)
            else:
                inline, chunks, got = self._pieces(fd, size)
                after = os.fstat(fd)
            read_bytes += got
            if not stat.S_ISREG(after.st_mode):
                raise OtherKind
            stable = same_version(seen, after) if before is None else _same(before, after)
            # A time that is yet to come is no reason for doubt: what is written now bears another.
            just_now = began_ns <= after.st_ctime_ns <= time.time_ns()
            if stable and got == after.st_size and not just_now:
                return Content(after, inline, chunks, got, False, read_bytes)
            if attempt == _ATTEMPTS or max(size, after.st_size) > _REPEAT_UP_TO:
                break
            if stable:
                # Modified so shortly before that a change during the read may bear the same time.
                time.sleep(TICK_NS / 1e9)
            before, size = after, after.st_size
        return Content(after, inline, chunks, got, True, read_bytes)

    def _whole(
        self, fd: int, room: memoryview, length: int, st: os.stat_result
    ) -> tuple[bytes | None, tuple[Chunk, ...] | None, int]:
        if length <= INLINE:
            return bytes(room[:length]), None, length
        # A file with a hole holds at least a block of zeros; a compressed one takes fewer blocks, too.
        if st.st_blocks * 512 < length and _ZEROS in bytes(room[:length]):
            return self._pieces(fd, length)
        return None, (Chunk(length, self._sink.put_room(length)),), length

    def _pieces(self, fd: int, size: int) -> tuple[None, tuple[Chunk, ...], int]:
        chunks = ChunkList(self._sink.put)
        if os.fstat(fd).st_blocks * 512 < size:
            for extent in data_extents(fd, size):
                if extent.is_hole:
                    chunks.add(Chunk(extent.length, None))
                else:
                    self._extent(fd, extent.offset, extent.length, chunks)
        else:
            self._extent(fd, 0, size, chunks)
        return None, chunks.finish(), chunks.length

    def _extent(self, fd: int, offset: int, length: int, chunks: ChunkList) -> None:
        data = carried = memoryview(b"")
        left = length

        def room(size: int) -> memoryview:
            # Chunks of the window before still wait to be sealed, so that it must stay as it is.
            nonlocal data
            data = self._windows.take()
            data[: len(carried)] = carried
            return data[len(carried) : len(carried) + size]

        for window in read_extent(fd, offset, length, room):
            left -= len(window)
            data = data[: len(carried) + len(window)]
            at = 0
            for chunk in self._chunker.cut(data, final=left <= 0):
                self._add(data[at : at + chunk], chunks)
                at += chunk
            carried = data[at:]
            self._pulse(chunks.length)
        # Something is left only where the file has become shorter than it was.
        at = 0
        for chunk in self._chunker.cut(carried, final=True) if carried else []:
            self._add(carried[at : at + chunk], chunks)
            at += chunk

    def _add(self, data: memoryview, chunks: ChunkList) -> None:
        chunks.add(Chunk(len(data), self._sink.put(BlobKind.DATA, data, b"")))


def _same(before: os.stat_result, after: os.stat_result) -> bool:
    return (before.st_size, before.st_mtime_ns, before.st_ctime_ns) == (
        after.st_size,
        after.st_mtime_ns,
        after.st_ctime_ns,
    )
