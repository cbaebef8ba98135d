"""Blobs in, durable packs out: deduplicate, frame, compress, seal, pack, store.

The caller's thread hashes and arranges; worker threads compress and seal frames; one
more thread hashes and stores finished packs. Only the caller's thread touches the
index, so nothing here needs a lock.
"""

import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

from blake3 import blake3

from backstay.domain.errors import RepositoryError
from backstay.repository.chunker import SMALL_FILE
from backstay.repository.compression import compress
from backstay.repository.encryption import FrameKey
from backstay.repository.index import Index, RunBuilder
from backstay.repository.layout import pack_name
from backstay.repository.pack import HEAD, MAX_BLOB_BYTES, PREFIX, BlobKind, FrameRecord, Trailer
from backstay.storage.interface import Buffer, Storage

FRAME_SIZE = 1 << 20
"""A frame is closed when its raw bytes reach this."""

PACK_SIZE = 32 << 20
"""A pack is closed when its sealed frames reach this."""

_BUFFER_SIZE = FRAME_SIZE + SMALL_FILE

BlobId = Callable[[Buffer], bytes]

AskStored = Callable[[Sequence[bytes]], Sequence[bool]]
"""Which of these blobs (ids) are in the repository already; called by several threads, a frame at a time."""

_ASKING = 4
"""Frames that wait for an answer, beside those that are compressed."""

_Result = TypeVar("_Result")


@dataclass
class PackerFigures:
    """What went through: blobs offered and new, their bytes, and bytes as stored."""

    blobs: int = 0
    blob_bytes: int = 0
    new_blobs: int = 0
    new_bytes: int = 0
    stored_bytes: int = 0
    packs: int = 0


class _OpenFrame:
    """A frame that still takes blobs: copied into its buffer, or one large blob as it came."""

    __slots__ = ("buffer", "ids", "kinds", "large", "lengths", "references", "size", "there")

    def __init__(self) -> None:
        self.buffer: memoryview | None = None
        self.large: Buffer | None = None
        self.ids: list[bytes] = []
        self.kinds: list[int] = []
        self.lengths: list[int] = []
        self.references: list[bytes] = []
        self.size = 0
        self.there: list[tuple[bytes, int]] = []

    def raw(self) -> Buffer:
        """The bytes of all blobs in it."""
        if self.large is not None:
            return self.large
        assert self.buffer is not None
        return self.buffer[: self.size]

    def leave_out(self, stored: Sequence[bool]) -> None:
        """Take out the blobs that are stored elsewhere, and note the id and length of each in `there`."""
        view, at, end = memoryview(self.raw()), 0, 0
        kept: list[int] = []
        for number, length in enumerate(self.lengths):
            if stored[number]:
                self.there.append((self.ids[number], length))
            else:
                if end < at and self.buffer is not None:
                    self.buffer[end : end + length] = view[at : at + length]
                kept.append(number)
                end += length
            at += length
        self.ids = [self.ids[number] for number in kept]
        self.kinds = [self.kinds[number] for number in kept]
        self.lengths = [self.lengths[number] for number in kept]
        self.references = [self.references[number] for number in kept]
        self.size = end


class _Stream:
    """Frames and packs of one sort. Content and metadata are packed apart: browsing fetches little."""

    def __init__(self) -> None:
        self.frame = _OpenFrame()
        self.sealing: deque[tuple[_OpenFrame, int, Future[Buffer | None]]] = deque()
        self.pack: list[Buffer] = []
        self.pack_size = 0
        self.trailer: Trailer | None = None


class Packer:
    """Turns blobs into packs. Every method belongs to one thread.

    Args:
        blob_id: the repository's keyed hash.
        key: data key of this session.
        index: asked for what is there already; told of each durable pack.
        workers: threads that compress and seal; None means one a processor.
        ask_stored: asked, frame by frame, where somebody else than the index knows what is stored.
    """

    def __init__(
        self,
        storage: Storage,
        index: Index,
        *,
        blob_id: BlobId,
        key: FrameKey,
        catalogue_key: bytes,
        session: bytes,
        workers: int | None = None,
        ask_stored: AskStored | None = None,
    ) -> None:
        self._storage = storage
        self._index = index
        self._ask_stored = ask_stored
        self.blob_id = blob_id
        self._key = key
        self._catalogue_key = catalogue_key
        self._session = session
        count = (workers or os.cpu_count() or 1) + (_ASKING if ask_stored else 0)
        self._sealers = ThreadPoolExecutor(count, "seal", initializer=_step_back)
        self._writer = ThreadPoolExecutor(1, "store")
        self._most_sealing = 3 * count + 2
        self._frame_number = 0
        self._content = _Stream()
        self._metadata = _Stream()
        self._pending: set[bytes] = set()
        self._buffers: list[memoryview] = []
        self._storing: deque[tuple[Trailer, Future[tuple[bytes, int]]]] = deque()
        self._builder = RunBuilder()
        self._index.recent.append(self._builder)
        self._failure: BaseException | None = None
        self.figures = PackerFigures()

    def put(self, kind: BlobKind, data: Buffer, references: bytes = b"") -> bytes:
        """Store a blob unless it is there already, and return its id.

        Args:
            data: kept until its frame is sealed, if it is long; the caller must not change it.
            references: for metadata, the 16-byte prefixes of the blobs that it refers to, joined.

        Raises:
            StorageError: an earlier pack could not be stored.
            RepositoryError: the blob is longer than MAX_BLOB_BYTES.
        """
        blob_id = self.blob_id(data)
        length = len(data)
        self.figures.blobs += 1
        self.figures.blob_bytes += length
        if self.has(blob_id):
            return blob_id
        if length > MAX_BLOB_BYTES:
            raise RepositoryError(
                f"a piece of {length} bytes is longer than a repository takes",
                hint="look for a file with very many or very long extended attributes",
            )
        stream = self._content if kind == BlobKind.DATA else self._metadata
        if length >= FRAME_SIZE:
            # A frame of its own, without a copy.
            self._close_frame(stream)
            stream.frame.large = data
        else:
            self._room(stream, length)[:] = data
        self._list(stream, blob_id, kind, length, references)
        return blob_id

    def room(self, length: int) -> memoryview:
        """Where content of `length` bytes, at most SMALL_FILE, may be read into; see `put_room`."""
        return self._room(self._content, length)

    def put_room(self, length: int) -> bytes:
        """Store the first `length` bytes of the room as a DATA blob, and return its id; raises as `put`.

        Nothing else may be put between `room` and this.
        """
        blob_id = self.blob_id(self._room(self._content, length))
        self.figures.blobs += 1
        self.figures.blob_bytes += length
        if not self.has(blob_id):
            self._list(self._content, blob_id, BlobKind.DATA, length, b"")
        return blob_id

    def _room(self, stream: _Stream, length: int) -> memoryview:
        """The next `length` bytes of the open frame's buffer."""
        frame = stream.frame
        if frame.size + length > _BUFFER_SIZE:
            self._close_frame(stream)
            frame = stream.frame
        if frame.buffer is None:
            frame.buffer = self._buffers.pop() if self._buffers else memoryview(bytearray(_BUFFER_SIZE))
        return frame.buffer[frame.size : frame.size + length]

    def has(self, blob_id: bytes) -> bool:
        """Whether the blob is in the repository or on its way there."""
        return blob_id[:PREFIX] in self._pending or blob_id in self._index

    def _list(self, stream: _Stream, blob_id: bytes, kind: BlobKind, length: int, references: bytes) -> None:
        """Count a blob in, whose bytes are in the open frame already."""
        self._pending.add(blob_id[:PREFIX])
        self.figures.new_blobs += 1
        self.figures.new_bytes += length
        frame = stream.frame
        frame.ids.append(blob_id)
        frame.kinds.append(kind)
        frame.lengths.append(length)
        frame.references.append(references)
        frame.size += length
        if frame.size >= FRAME_SIZE:
            self._close_frame(stream)

    def _close_frame(self, stream: _Stream) -> None:
        frame = stream.frame
        if not frame.ids:
            return
        stream.frame = _OpenFrame()
        number = self._frame_number
        self._frame_number += 1
        stream.sealing.append((frame, number, self._sealers.submit(self._seal, frame, number)))
        self._collect(stream, self._most_sealing)

    def _seal(self, frame: _OpenFrame, number: int) -> Buffer | None:
        """The sealed frame, or None where nothing in it is new. Meanwhile it is this thread's alone."""
        if self._ask_stored is not None:
            stored = self._ask_stored(frame.ids)
            if any(stored):
                frame.leave_out(stored)
            if not frame.ids:
                frame.large = None
                return None
        content = compress(frame.raw(), of_many=frame.large is None)
        sealed = self._key.seal_frame(number, content)
        frame.large = None
        return sealed

    def _collect(self, stream: _Stream, most: int) -> None:
        while stream.sealing and (len(stream.sealing) > most or stream.sealing[0][2].done()):
            frame, number, future = stream.sealing.popleft()
            sealed = self._result(future)
            for blob_id, length in frame.there:
                self._pending.discard(blob_id[:PREFIX])
                self.figures.new_blobs -= 1
                self.figures.new_bytes -= length
            if sealed is not None:
                self._add_frame(stream, frame, number, sealed)
            if frame.buffer is not None:
                self._buffers.append(frame.buffer)

    def _add_frame(self, stream: _Stream, frame: _OpenFrame, number: int, sealed: Buffer) -> None:
        if stream.trailer is None:
            stream.trailer = Trailer(self._session, [self._key.sealed])
            stream.pack = [HEAD]
            stream.pack_size = len(HEAD)
        trailer = stream.trailer
        position = len(trailer.frames)
        trailer.frames.append(FrameRecord(stream.pack_size, len(sealed), frame.size, 0, number))
        trailer.add_filling(position, frame.ids, frame.kinds, frame.lengths)
        if stream is self._metadata:
            trailer.references += frame.references
        stream.pack.append(sealed)
        stream.pack_size += len(sealed)
        if stream.pack_size >= PACK_SIZE:
            self._close_pack(stream)

    def _close_pack(self, stream: _Stream) -> None:
        trailer = stream.trailer
        if trailer is None:
            return
        # One pack being stored and one being filled is all that may be in memory.
        self._finish_stored(0)
        self._storing.append((trailer, self._writer.submit(self._store, stream.pack, trailer)))
        stream.trailer, stream.pack, stream.pack_size = None, [], 0

    def _store(self, parts: list[Buffer], trailer: Trailer) -> tuple[bytes, int]:
        parts.append(trailer.encode(self._catalogue_key))
        hasher = blake3()
        for part in parts:
            hasher.update(part)
        digest = hasher.digest()
        self._storage.put(pack_name(digest), parts)
        return digest, sum(map(len, parts))

    def _finish_stored(self, most: int) -> None:
        while len(self._storing) > most:
            trailer, future = self._storing.popleft()
            digest, size = self._result(future)
            self.figures.packs += 1
            self.figures.stored_bytes += size
            self._builder.add_pack(digest, size, trailer)
            ids = bytes(trailer.ids)
            self._pending.difference_update(ids[at : at + PREFIX] for at in range(0, len(ids), 32))

    def _result(self, future: "Future[_Result]") -> _Result:
        try:
            return future.result()
        except BaseException as error:
            self._failure = error
            raise

    @property
    def indexed(self) -> int:
        """Entries of durable packs that no stored index run holds yet."""
        return len(self._builder)

    def flush(self) -> None:
        """Store everything that was put, and return when the packs are durable.

        Raises:
            StorageError: a pack could not be stored, now or earlier.
        """
        if self._failure is not None:
            raise self._failure
        for stream in (self._content, self._metadata):
            self._close_frame(stream)
            self._collect(stream, 0)
            self._close_pack(stream)
        self._finish_stored(0)
        self._storage.sync()

    def adopt(self, digest: bytes, size: int, trailer: Trailer) -> None:
        """Take up a durable pack that no index run names, as an earlier, interrupted session left it."""
        self._builder.add_pack(digest, size, trailer)

    def encode_indexed(self) -> bytes:
        """An index run of the entries of durable packs that no stored run holds yet."""
        return self._builder.encode()

    def forget_indexed(self) -> None:
        """Begin a fresh collection of entries: those so far are in a run that the index knows."""
        self._index.recent.remove(self._builder)
        self._builder = RunBuilder()
        self._index.recent.append(self._builder)

    def close(self) -> None:
        """End the threads; what was not flushed is given up."""
        for executor in (self._sealers, self._writer):
            executor.shutdown(wait=True, cancel_futures=True)


def _step_back() -> None:
    """Let the thread that reads go first: while it waits for a processor, nobody has anything to seal soon.

    Linux has a nice value for each thread: setpriority(2), "C library/kernel differences".
    """
    if sys.platform == "linux":
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), os.getpriority(os.PRIO_PROCESS, 0) + 3)
