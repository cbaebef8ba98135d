"""What the scan found to do, on disk: memory stays flat, and the estimate comes before the first byte."""

import struct
import tempfile
from collections.abc import Iterator
from typing import BinaryIO

import msgspec

from backstay.domain.entry import Entry, FileStat, Totals
from backstay.domain.errors import StorageError

_LENGTH = struct.Struct("<I")
_decode_stats = msgspec.msgpack.Decoder(list[FileStat]).decode


class Item(msgspec.Struct, array_like=True):
    """One entry of a folder.

    Attributes:
        stat: what the scan saw.
        previous: the entry as last stored, where there is one.
        unchanged: `previous` still stands.
        page, totals: of a directory that did not change, wherever in the tree: the page that it is.
        is_mount_point: a directory on which another filesystem is mounted, not to be crossed.
    """

    stat: FileStat
    previous: Entry | None = None
    unchanged: bool = False
    page: bytes | None = None
    totals: Totals | None = None
    is_mount_point: bool = False


class Segment(msgspec.Struct, array_like=True):
    """A run of a folder's entries that becomes one page; folders come after everything below them.

    Attributes:
        root: number of the source root that the folder lies in; -1 for the folders above the roots.
        components: the folder's path below that root.
        path: the folder's path from the file system's root, without a leading slash.
        first: name that keys the segment; empty for a folder's first.
        items: the entries, sorted by name; empty where `reused` is given.
        new: the stats of the entries instead, encoded, where nothing at all is known of any of them.
        ends: whether this is the folder's last segment.
        unlisted: why the folder could not be listed, or empty.
        reused: id of a segment that did not change, with its totals.
        gone: names of folders that were here at the last backup.
    """

    root: int
    components: tuple[bytes, ...]
    path: bytes
    first: bytes
    items: list[Item]
    ends: bool
    unlisted: str = ""
    reused: tuple[bytes, Totals] | None = None
    gone: list[bytes] = msgspec.field(default_factory=list)
    new: bytes = b""

    def all_items(self) -> list[Item]:
        """The entries, however they are given."""
        return [Item(stat) for stat in _decode_stats(self.new)] if self.new else self.items


class Spool:
    """A file of segments, written once and read in the same order."""

    def __init__(self) -> None:
        self._file: BinaryIO = tempfile.TemporaryFile(prefix="backstay-spool-")  # noqa: SIM115 - lives as long as the spool
        self._encoder = msgspec.msgpack.Encoder()
        self.segments = 0

    def add(self, segment: Segment) -> None:
        """Append a segment. Raises StorageError where the temporary folder is full."""
        data = self._encoder.encode(segment)
        try:
            self._file.write(_LENGTH.pack(len(data)))
            self._file.write(data)
        except OSError as error:
            raise StorageError(
                f"the list of files to back up cannot be kept in {tempfile.gettempdir()}: {error.strerror}",
                hint="make room there, or choose another folder with TMPDIR",
            ) from error
        self.segments += 1

    def __iter__(self) -> Iterator[Segment]:
        decoder = msgspec.msgpack.Decoder(Segment)
        self._file.seek(0)
        while head := self._file.read(_LENGTH.size):
            yield decoder.decode(self._file.read(_LENGTH.unpack(head)[0]))

    def close(self) -> None:
        """Give the disk space back."""
        self._file.close()
