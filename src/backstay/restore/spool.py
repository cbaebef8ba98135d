"""Records of a plan, kept in a temporary file, so that a million files take no memory."""

import tempfile
from array import array
from collections.abc import Iterator
from typing import Generic, TypeVar

import msgspec

from backstay.domain.entry import Entry
from backstay.domain.errors import TargetError
from backstay.system.calls import os

_WINDOW = 64 << 10
_BEHIND = 56 << 10
_MARK_EVERY = 256
_PREFIX = 4


class FolderRecord(msgspec.Struct, array_like=True, gc=False):
    """A folder to make or to enter.

    Attributes:
        parent: number of the folder in which it lies; 0 is the target.
        action: an `Action`.
        name: its name at the target.
        finish: whether its metadata is restored.
        entry: the folder in the restore point.
    """

    parent: int
    action: int
    name: bytes
    finish: bool
    entry: Entry


class FileRecord(msgspec.Struct, array_like=True, gc=False):
    """Anything else to make.

    Attributes:
        folder: number of its folder.
        action: an `Action`.
        pieces: number of pieces that its content is put together from; 0 where it has
            no content, carries it inline, or is one hole.
        name: its name at the target.
        entry: the entry in the restore point.
    """

    folder: int
    action: int
    pieces: int
    name: bytes
    entry: Entry


class LinkRecord(msgspec.Struct, array_like=True, gc=False):
    """A further hard link.

    Attributes:
        folder, action, name: as in FileRecord.
        to_folder, to_name: the file that it is another name of.
    """

    folder: int
    action: int
    name: bytes
    to_folder: int
    to_name: bytes


Record = TypeVar("Record", bound=msgspec.Struct)

_encoder = msgspec.msgpack.Encoder()


class Spool(Generic[Record]):
    """An append-only file of records, named by their offsets in it."""

    def __init__(self, kind: type[Record]) -> None:
        self._kind = kind
        self._file = temporary_file()
        self._size = 0
        self._marks = array("Q")
        self._count = 0

    def __len__(self) -> int:
        return self._count

    @property
    def end(self) -> int:
        """Where the next record will be."""
        return self._size

    def append(self, record: Record) -> int:
        """Add a record, and return its offset. Raises TargetError where the temporary folder is full."""
        at = self._size
        if self._count % _MARK_EVERY == 0:
            self._marks.append(at)
        self._count += 1
        data = _encoder.encode(record)
        try:
            self._file.write(len(data).to_bytes(_PREFIX, "little") + data)
        except OSError as error:
            raise no_room(error) from error
        self._size = at + _PREFIX + len(data)
        return at

    def runs(self) -> Iterator[tuple[int, int]]:
        """Parts of the file, each of a few hundred records, from offset to offset."""
        self.flush()
        for place, start in enumerate(self._marks):
            yield start, self._marks[place + 1] if place + 1 < len(self._marks) else self._size

    def between(self, start: int, stop: int) -> Iterator[tuple[int, Record]]:
        """The records of a part, each with its offset."""
        reader = self.reader()
        at = start
        while at < stop:
            record = reader.at(at)
            yield at, record
            at = reader.next

    def __iter__(self) -> Iterator[Record]:
        self.flush()
        for _, record in self.between(0, self._size):
            yield record

    def reader(self) -> "SpoolReader[Record]":
        """Reads records by their offsets; one for each thread."""
        self.flush()
        return SpoolReader(self._file.fileno(), self._kind)

    def flush(self) -> None:
        """Make all records visible to readers. Raises TargetError where the temporary folder is full."""
        try:
            self._file.flush()
        except OSError as error:
            raise no_room(error) from error

    def close(self) -> None:
        """Remove the file."""
        self._file.close()


class SpoolReader(Generic[Record]):
    """Reads a spool, ahead.

    Attributes:
        next: offset of the record after the one read last.
    """

    def __init__(self, fd: int, kind: type[Record]) -> None:
        self._fd = fd
        self._decoder = msgspec.msgpack.Decoder(kind)
        self._start = 0
        self._window = b""
        self.next = 0

    def at(self, offset: int) -> Record:
        """The record at `offset`."""
        place = offset - self._start
        window = self._window
        if place < 0 or place + _PREFIX > len(window):
            # Who goes backwards asks for the records before this one next.
            window = self._fill(offset if place >= 0 else max(0, offset - _BEHIND), _WINDOW)
            place = offset - self._start
        length = int.from_bytes(window[place : place + _PREFIX], "little")
        if place + _PREFIX + length > len(window):
            window, place = self._fill(offset, max(_WINDOW, _PREFIX + length)), 0
        self.next = offset + _PREFIX + length
        return self._decoder.decode(memoryview(window)[place + _PREFIX : place + _PREFIX + length])

    def _fill(self, offset: int, length: int) -> bytes:
        self._start = offset
        self._window = os.pread(self._fd, length, offset)
        return self._window


def temporary_file() -> "tempfile._TemporaryFileWrapper[bytes]":
    """An unnamed temporary file. Raises TargetError."""
    try:
        return tempfile.TemporaryFile(prefix="backstay-restore-", buffering=1 << 18)  # type: ignore[return-value]
    except OSError as error:
        raise no_room(error) from error


def no_room(error: OSError) -> TargetError:
    """The error for a temporary folder that cannot be written."""
    reason = (error.strerror or str(error)).lower()
    return TargetError(
        f"the plan of the restore cannot be kept in {tempfile.gettempdir()}: {reason}",
        hint="make room there, or name another folder in TMPDIR",
    )
