"""Reading a file's content out of a restore point, whole or anywhere in it."""

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator
from itertools import accumulate
from threading import Lock
from typing import Final

from backstay.domain.entry import Chunk, Entry
from backstay.domain.errors import DamagedObject, RepositoryError
from backstay.repository.tree import ReadBlob, decode_chunks, iterate_chunks

_ZEROS: Final = bytes(1 << 20)
_LISTS_KEPT = 16


class _Chunks:
    """A chunk list and where each chunk begins."""

    def __init__(self, chunks: list[Chunk]) -> None:
        self.chunks = chunks
        self.starts = list(accumulate((chunk.length for chunk in chunks), initial=0))

    def at(self, offset: int) -> tuple[Chunk, int]:
        """The chunk that holds the byte at `offset`, and where it begins."""
        row = bisect_right(self.starts, offset) - 1
        return self.chunks[row], self.starts[row]


class FileContent:
    """Random access to the content of a regular file. Safe to use from several threads.

    Args:
        entry: the file.
        read: reads blobs, as `BlobReader.read`.

    Raises:
        RepositoryError: the restore point holds no content of it.
    """

    def __init__(self, entry: Entry, read: ReadBlob) -> None:
        if not entry.is_regular or not entry.has_content:
            raise _no_content(entry)
        self.size = entry.size
        self._inline = entry.inline
        self._top = _Chunks(list(entry.chunks or ()))
        self._read_blob = read
        self._lists: OrderedDict[bytes, _Chunks] = OrderedDict()
        self._last: tuple[bytes, bytes] = (b"", b"")
        self._lock = Lock()

    def read(self, offset: int, length: int) -> bytes:
        """`length` bytes from `offset`; fewer where the file ends before.

        Raises:
            DamagedObject, KeyMissing, StorageError.
        """
        end = min(offset + length, self.size)
        if self._inline is not None:
            return self._inline[offset:end]
        parts: list[bytes] = []
        while offset < end:
            part = self._part(offset, end - offset)
            parts.append(part)
            offset += len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _part(self, offset: int, length: int) -> bytes:
        """At least one of the bytes that are wanted."""
        chunk, start = self._chunk_at(offset)
        inside = offset - start
        length = min(length, chunk.length - inside)
        if chunk.blob is None:
            return bytes(length)
        part = self._blob(chunk.blob)[inside : inside + length]
        if len(part) != length:
            raise DamagedObject(f"blob {chunk.blob.hex()[:16]}", "it is shorter than the file needs")
        return part

    def _chunk_at(self, offset: int) -> tuple[Chunk, int]:
        if offset >= self._top.starts[-1]:
            raise DamagedObject("a chunk list", "it ends before the file does")
        chunk, start = self._top.at(offset)
        while chunk.depth and chunk.blob is not None:
            below = self._list(chunk.blob)
            if offset - start >= below.starts[-1]:
                raise DamagedObject(
                    f"chunk list {chunk.blob.hex()[:16]}", "it is shorter than the file needs"
                )
            chunk, inside = below.at(offset - start)
            start += inside
        return chunk, start

    def _list(self, page: bytes) -> _Chunks:
        with self._lock:
            known = self._lists.get(page)
            if known is not None:
                self._lists.move_to_end(page)
                return known
        chunks = _Chunks(decode_chunks(self._read_blob(page), page))
        with self._lock:
            self._lists[page] = chunks
            while len(self._lists) > _LISTS_KEPT:
                self._lists.popitem(last=False)
        return chunks

    def _blob(self, blob_id: bytes) -> bytes:
        known, content = self._last
        if known != blob_id:
            content = self._read_blob(blob_id)
            self._last = blob_id, content
        return content


def file_bytes(entry: Entry, read: ReadBlob) -> Iterator[bytes]:
    """The content of a regular file from beginning to end, about a megabyte at a time; holes as zeros.

    Raises:
        RepositoryError: the restore point holds no content of it.
        DamagedObject, KeyMissing, StorageError.
    """
    if not entry.is_regular or not entry.has_content:
        raise _no_content(entry)
    if entry.inline is not None:
        yield entry.inline
        return
    for chunk in iterate_chunks(entry.chunks or (), read):
        if chunk.blob is not None:
            yield read(chunk.blob)
            continue
        for at in range(0, chunk.length, len(_ZEROS)):
            yield _ZEROS[: chunk.length - at]


def _no_content(entry: Entry) -> RepositoryError:
    name = entry.name.decode("utf-8", "replace")
    if entry.is_regular:
        return RepositoryError(
            f"the restore point holds no content of {name!r}: it could not be read when it was backed up",
            hint="`backstay repo files --versions` shows other versions of it",
        )
    return RepositoryError(f"{name!r} is not a regular file")
