"""Moving what is needed of some packs into new ones.

Frames are copied as they are sealed, with their data keys, so that this needs no private
key. Only where a frame is mostly garbage, and a private key is at hand, its needed blobs
are sealed anew.
"""

from collections.abc import Callable
from typing import NamedTuple

from blake3 import blake3

from backstay.domain.errors import DamagedObject
from backstay.repository.blob_reader import BlobReader
from backstay.repository.compression import compress
from backstay.repository.encryption import FrameKey
from backstay.repository.index import RunBuilder
from backstay.repository.layout import pack_name
from backstay.repository.pack import HEAD, PREFIX, BlobKind, BlobRecord, FrameRecord, Trailer
from backstay.repository.packer import FRAME_SIZE, PACK_SIZE
from backstay.storage.interface import Buffer, Storage

_WORTH_RESEALING = 0.7

IsNeeded = Callable[[bytes, bytes], bool]
"""Asked with a pack's digest and a blob's prefix."""


class _OpenPack:
    """A pack being filled: sealed frames, and the trailer that lists them."""

    def __init__(self, session: bytes) -> None:
        self.parts: list[Buffer] = [HEAD]
        self.size = len(HEAD)
        self.trailer = Trailer(session, [])

    def add_frame(self, sealed_key: bytes, record: FrameRecord, sealed: Buffer) -> int:
        """Append a sealed frame under its data key, and return its number."""
        keys = self.trailer.keys
        if sealed_key not in keys:
            keys.append(sealed_key)
        self.trailer.frames.append(
            record._replace(offset=self.size, length=len(sealed), key=keys.index(sealed_key))
        )
        self.parts.append(sealed)
        self.size += len(sealed)
        return len(self.trailer.frames) - 1


class _Loose(NamedTuple):
    """A blob taken out of a frame that is mostly garbage."""

    record: BlobRecord
    content: bytes


class Repacker:
    """Writes new packs. Belongs to one thread.

    Args:
        key: data key for frames that are sealed anew, or None where no private key is at hand.

    Attributes:
        builder: the index entries of the new packs.
        moved_bytes: stored bytes of the new packs.
    """

    def __init__(
        self,
        storage: Storage,
        reader: BlobReader,
        *,
        catalogue_key: bytes,
        session: bytes,
        key: FrameKey | None,
        is_needed: IsNeeded,
    ) -> None:
        self._storage = storage
        self._reader = reader
        self._catalogue_key = catalogue_key
        self._session = session
        self._key = key
        self._is_needed = is_needed
        self._frame_number = 0
        self._open: dict[bool, _OpenPack] = {}
        self._loose: dict[bool, list[_Loose]] = {False: [], True: []}
        self._moved: set[bytes] = set()
        self.builder = RunBuilder()
        self.moved_bytes = 0

    def move(self, digest: bytes) -> None:
        """Move the needed blobs of a pack.

        Raises:
            ObjectNotFound, DamagedObject: the pack cannot be read; nothing of it was condemned by this.
        """
        name = pack_name(digest)
        trailer = self._reader.trailer(digest)
        needed: dict[int, list[BlobRecord]] = {}
        for blob in trailer.blobs():
            prefix = blob.id[:PREFIX]
            if prefix not in self._moved and self._is_needed(digest, prefix):
                needed.setdefault(blob.frame, []).append(blob)
        for number, blobs in needed.items():
            record = trailer.frames[number]
            sealed = self._storage.get(name, record.offset, record.length)
            if len(sealed) != record.length:
                raise DamagedObject(name, "it is cut short")
            share = sum(blob.length for blob in blobs) / max(1, record.raw_length)
            metadata = blobs[0].kind != BlobKind.DATA
            if self._key is None or share >= _WORTH_RESEALING:
                self._copy_frame(metadata, trailer.keys[record.key], record, sealed, blobs)
            else:
                raw = self._reader.open_frame(digest, trailer, number, sealed)
                for blob in blobs:
                    content = raw[blob.offset : blob.offset + blob.length]
                    if self._reader.blob_id(content) != blob.id:
                        raise DamagedObject(name, "a blob in it is not what its id says")
                    self._loose[metadata].append(_Loose(blob, content))
                if sum(loose.record.length for loose in self._loose[metadata]) >= FRAME_SIZE:
                    self._seal_loose(metadata)
            self._moved.update(blob.id[:PREFIX] for blob in blobs)

    def _copy_frame(
        self, metadata: bool, sealed_key: bytes, record: FrameRecord, sealed: Buffer, blobs: list[BlobRecord]
    ) -> None:
        pack = self._open.setdefault(metadata, _OpenPack(self._session))
        number = pack.add_frame(sealed_key, record, sealed)
        for blob in blobs:
            pack.trailer.add(blob.id, blob.kind, number, blob.offset, blob.length, blob.references)
        self._close_if_full(metadata)

    def _seal_loose(self, metadata: bool) -> None:
        loose, self._loose[metadata] = self._loose[metadata], []
        if not loose or self._key is None:
            return
        raw = b"".join(blob.content for blob in loose)
        sealed = self._key.seal_frame(self._frame_number, compress(raw))
        record = FrameRecord(0, len(sealed), len(raw), 0, self._frame_number)
        self._frame_number += 1
        pack = self._open.setdefault(metadata, _OpenPack(self._session))
        number = pack.add_frame(self._key.sealed, record, sealed)
        offset = 0
        for blob, content in loose:
            pack.trailer.add(blob.id, blob.kind, number, offset, len(content), blob.references)
            offset += len(content)
        self._close_if_full(metadata)

    def _close_if_full(self, metadata: bool) -> None:
        if self._open[metadata].size >= PACK_SIZE:
            self._close(metadata)

    def _close(self, metadata: bool) -> None:
        pack = self._open.pop(metadata, None)
        if pack is None:
            return
        pack.parts.append(pack.trailer.encode(self._catalogue_key))
        hasher = blake3()
        for part in pack.parts:
            hasher.update(part)
        digest, size = hasher.digest(), sum(map(len, pack.parts))
        self._storage.put(pack_name(digest), pack.parts)
        self.builder.add_pack(digest, size, pack.trailer)
        self.moved_bytes += size

    def finish(self) -> None:
        """Store what is still open; durable when this returns."""
        for metadata in (False, True):
            self._seal_loose(metadata)
            self._close(metadata)
        self._storage.sync()
