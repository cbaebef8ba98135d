"""A pack: frames, a sealed trailer that lists them and their blobs, a fixed footer.

    b"BSPACK01"  frame  frame  …  trailer (envelope b"BSTRAIL1")  footer
    footer: trailer length, u64 little-endian, then b"BSPKEND1"

The trailer opens with the catalogue key alone. It repeats the sealed data keys of
its frames, so that a pack can be read with nothing else but the private key.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from itertools import accumulate
from typing import NamedTuple

import msgspec

from backstay.domain.errors import DamagedObject, UnsupportedVersion
from backstay.repository.encryption import SEALED_KEY_BYTES, seal, unseal
from backstay.repository.wire import ShortId, decode_record
from backstay.storage.interface import Buffer, Storage

HEAD = b"BSPACK01"
FOOT = b"BSPKEND1"
FOOTER_LENGTH = 16
TRAILER_KIND = b"BSTRAIL1"
TRAILER_VERSION = 1
PREFIX = 16
"""Length of the part of a blob id that the index and references carry."""

MAX_BLOB_BYTES = 64 << 20
"""No blob is longer."""

MAX_FRAME_BYTES = 128 << 20
"""No frame has more raw bytes: who reads one needs to set aside no more."""

_TAIL_GUESS = 64 << 10


class BlobKind(IntEnum):
    """What a blob holds."""

    DATA = 0
    """Content of files."""
    PAGE = 1
    """A page of directory entries."""
    CHUNKS = 2
    """A page of a large file's chunk list."""
    DETAILS = 3
    """What a manifest must not show to those who hold only the catalogue key."""


class FrameRecord(NamedTuple):
    """One frame: where its sealed bytes lie in the pack, its raw length, and how to open it."""

    offset: int
    length: int
    raw_length: int
    key: int
    number: int


class BlobRecord(NamedTuple):
    """One blob: its place in the raw bytes of a frame, and id prefixes of the blobs that it refers to."""

    id: bytes
    kind: BlobKind
    frame: int
    offset: int
    length: int
    references: bytes


class _Wire(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    version: int
    session: ShortId
    keys: list[bytes]
    frames: list[FrameRecord]
    ids: bytes
    kinds: bytes
    frame_numbers: bytes
    offsets: bytes
    lengths: bytes
    references: list[bytes]


_wire = msgspec.msgpack.Decoder(_Wire)


def _u32(values: array[int]) -> bytes:
    if sys.byteorder == "big":
        values = values[:]
        values.byteswap()
    return values.tobytes()


def _from_u32(data: bytes) -> array[int]:
    values = array("I")
    values.frombytes(data)
    if sys.byteorder == "big":
        values.byteswap()
    return values


@dataclass
class Trailer:
    """The list of a pack's frames and blobs, in columns; append with `add`.

    Attributes:
        session: id of the writing session (16 bytes).
        keys: sealed data keys that the frames use.
    """

    session: bytes
    keys: list[bytes]
    frames: list[FrameRecord] = field(default_factory=list)
    ids: bytearray = field(default_factory=bytearray)
    kinds: bytearray = field(default_factory=bytearray)
    frame_numbers: array[int] = field(default_factory=lambda: array("I"))
    offsets: array[int] = field(default_factory=lambda: array("I"))
    lengths: array[int] = field(default_factory=lambda: array("I"))
    references: list[bytes] = field(default_factory=list)

    def add(self, blob_id: bytes, kind: int, frame: int, offset: int, length: int, references: bytes) -> None:
        """List one more blob; `references` counts only for other kinds than DATA."""
        self.ids += blob_id
        self.kinds.append(kind)
        self.frame_numbers.append(frame)
        self.offsets.append(offset)
        self.lengths.append(length)
        if kind != BlobKind.DATA:
            self.references.append(references)

    def add_filling(self, frame: int, ids: list[bytes], kinds: list[int], lengths: list[int]) -> None:
        """List all blobs of a frame, which fill it one after the other; their references are the caller's."""
        self.ids += b"".join(ids)
        self.kinds += bytes(kinds)
        self.frame_numbers.extend([frame] * len(ids))
        self.offsets.extend([0, *accumulate(lengths[:-1])])
        self.lengths.extend(lengths)

    def __len__(self) -> int:
        return len(self.kinds)

    def kind_bits(self) -> int:
        """A bit (1 << BlobKind) for each kind of blob in the pack."""
        return sum(1 << kind for kind in set(self.kinds))

    def blobs(self) -> Iterator[BlobRecord]:
        """Every blob of the pack, in the order of writing."""
        references = iter(self.references)
        ids = bytes(self.ids)
        for row, kind in enumerate(self.kinds):
            yield BlobRecord(
                ids[row * 32 : row * 32 + 32],
                BlobKind(kind),
                self.frame_numbers[row],
                self.offsets[row],
                self.lengths[row],
                b"" if kind == BlobKind.DATA else next(references),
            )

    def encode(self, catalogue_key: bytes) -> bytes:
        """Trailer and footer, as they end a pack."""
        wire = _Wire(
            TRAILER_VERSION,
            self.session,
            self.keys,
            self.frames,
            bytes(self.ids),
            bytes(self.kinds),
            _u32(self.frame_numbers),
            _u32(self.offsets),
            _u32(self.lengths),
            self.references,
        )
        sealed = seal(catalogue_key, TRAILER_KIND, msgspec.msgpack.encode(wire))
        return b"".join((sealed, len(sealed).to_bytes(8, "little"), FOOT))


def decode_trailer(sealed: Buffer, catalogue_key: bytes, name: str, trailer_offset: int) -> Trailer:
    """The trailer from its sealed bytes, every number in it checked.

    Args:
        trailer_offset: where the trailer begins in the pack, and its last frame ends.

    Raises:
        DamagedObject, UnsupportedVersion.
    """
    raw = unseal(catalogue_key, TRAILER_KIND, sealed, name)
    wire = decode_record(_wire, raw, name, TRAILER_VERSION)
    count = len(wire.kinds)
    columns = (wire.frame_numbers, wire.offsets, wire.lengths)
    if len(wire.ids) != 32 * count or any(len(column) != 4 * count for column in columns):
        raise DamagedObject(name, "the columns of its trailer differ in length")
    trailer = Trailer(
        wire.session,
        wire.keys,
        wire.frames,
        bytearray(wire.ids),
        bytearray(wire.kinds),
        _from_u32(wire.frame_numbers),
        _from_u32(wire.offsets),
        _from_u32(wire.lengths),
        wire.references,
    )
    _check(trailer, name, trailer_offset)
    return trailer


def _check(trailer: Trailer, name: str, trailer_offset: int) -> None:
    if any(len(key) != SEALED_KEY_BYTES for key in trailer.keys):
        raise DamagedObject(name, "its trailer holds a data key of impossible size")
    end = len(HEAD)
    for frame in trailer.frames:
        if not (
            frame.offset == end
            and frame.length > 0
            and 0 <= frame.key < len(trailer.keys)
            and 0 <= frame.raw_length <= MAX_FRAME_BYTES
            and 0 <= frame.number < 1 << 64
        ):
            raise DamagedObject(name, "its trailer describes an impossible frame")
        end += frame.length
    if end != trailer_offset:
        raise DamagedObject(name, "the frames of its trailer do not fill it")
    if any(kind > max(BlobKind) for kind in trailer.kinds):
        raise DamagedObject(name, "its trailer lists a blob of unknown kind")
    if len(trailer.references) != sum(kind != BlobKind.DATA for kind in trailer.kinds):
        raise DamagedObject(name, "its trailer lists references for other blobs than it has")
    if any(len(references) % PREFIX for references in trailer.references):
        raise DamagedObject(name, "its trailer lists a reference of odd length")
    for number, offset, length in zip(trailer.frame_numbers, trailer.offsets, trailer.lengths, strict=True):
        if number >= len(trailer.frames) or offset + length > trailer.frames[number].raw_length:
            raise DamagedObject(name, "its trailer lists a blob outside of its frame")


def read_trailer(storage: Storage, name: str, catalogue_key: bytes, size: int | None = None) -> Trailer:
    """Fetch and decode a pack's trailer, usually in one range read.

    Raises:
        ObjectNotFound, DamagedObject, UnsupportedVersion.
    """
    if size is None:
        size = storage.size(name)
    guess = min(size, _TAIL_GUESS)
    tail = storage.get(name, size - guess, guess)
    if len(tail) != guess:
        raise DamagedObject(name, "it is cut short")
    start, length = _trailer_place(tail, size, name)
    if length + FOOTER_LENGTH <= guess:
        return trailer_of(tail, catalogue_key, name, size)
    return decode_trailer(storage.get(name, start, length), catalogue_key, name, start)


def trailer_of(tail: Buffer, catalogue_key: bytes, name: str, size: int | None = None) -> Trailer:
    """The trailer of a pack whose last bytes, or all of them, are given.

    Args:
        size: of the whole pack, where `tail` is only its end.

    Raises:
        DamagedObject, UnsupportedVersion.
    """
    start, length = _trailer_place(tail, len(tail) if size is None else size, name)
    end = len(tail) - FOOTER_LENGTH
    if length > end:
        raise DamagedObject(name, "its footer names an impossible trailer")
    return decode_trailer(memoryview(tail)[end - length : end], catalogue_key, name, start)


def _trailer_place(tail: Buffer, size: int, name: str) -> tuple[int, int]:
    """Offset and length of the trailer, from the last bytes of the pack."""
    foot = bytes(tail[-8:])
    if foot[:-1] == FOOT[:-1] and foot[-1:].isdigit() and foot > FOOT:
        raise UnsupportedVersion(
            f"{name} is a pack of version {foot[-1:].decode()}", hint="use a newer Backstay"
        )
    if size < len(HEAD) + FOOTER_LENGTH or foot != FOOT:
        raise DamagedObject(name, "it does not end as a pack ends")
    length = int.from_bytes(tail[-16:-8], "little")
    start = size - FOOTER_LENGTH - length
    if start < len(HEAD):
        raise DamagedObject(name, "its footer names an impossible trailer")
    return start, length
