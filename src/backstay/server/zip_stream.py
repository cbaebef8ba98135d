"""Folders as ZIP archives that are made while they are sent: nothing is kept on disk, and little in memory.

A byte that is not UTF-8 is written visibly, as `%5Cxff`; for a backslash is written `%5C`, because some
programs take it for a separator. Owners, attributes and special files have no place in such an archive: a
restore brings them back.
"""

import stat
import time
from collections.abc import Callable, Iterator
from io import RawIOBase
from typing import IO, Any, cast
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from backstay.domain.entry import Entry
from backstay.repository.content import file_bytes

_EARLIEST = (1980, 1, 1, 0, 0, 0)
_ZIP64_FROM = 1 << 31
_LEVEL = 1


class _Sink(RawIOBase):
    """Takes what ZipFile writes, until it is fetched."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def writable(self) -> bool:
        """It takes bytes."""
        return True

    def write(self, data: Any) -> int:
        """Keep a copy."""
        self._parts.append(bytes(data))
        return len(data)

    def take(self) -> bytes:
        """What was written since the last time."""
        taken = b"".join(self._parts)
        self._parts.clear()
        return taken


def zip_of(entries: Iterator[tuple[bytes, Entry]], read: Callable[[bytes], bytes]) -> Iterator[bytes]:
    """The archive, piece by piece.

    Args:
        entries: relative paths with their entries, folders before what is in them.
        read: reads blobs.

    Raises:
        DamagedObject, KeyMissing, StorageError: the archive ends there, and programs see that it is cut off.
    """
    sink = _Sink()
    missing: list[str] = []
    with ZipFile(cast(IO[bytes], sink), "w", ZIP_DEFLATED, compresslevel=_LEVEL) as archive:
        for path, entry in entries:
            name = _name(path)
            info = ZipInfo(f"{name}/" if entry.is_directory else name, _moment(entry.mtime_ns))
            info.external_attr = (entry.mode & 0xFFFF) << 16
            info.compress_type = ZIP_DEFLATED
            if entry.is_directory:
                archive.writestr(info, b"")
            elif stat.S_ISLNK(entry.mode):
                archive.writestr(info, entry.inline or b"")
            elif entry.is_regular and entry.has_content:
                info.file_size = entry.size
                with archive.open(info, "w", force_zip64=entry.size >= _ZIP64_FROM) as file:
                    for piece in file_bytes(entry, read):
                        file.write(piece)
                        yield sink.take()
            else:
                missing.append(name)
            yield sink.take()
        if missing:
            text = "\n".join(
                ["Not in this archive: special files, and files that could not be read.", "", *missing]
            )
            archive.writestr("NOT IN THIS ARCHIVE.txt", text)
    yield sink.take()


def _name(path: bytes) -> str:
    return path.decode("utf-8", "backslashreplace").replace("\\", "%5C").replace("\0", "")


def _moment(mtime_ns: int) -> tuple[int, int, int, int, int, int]:
    try:
        moment = time.gmtime(mtime_ns // 1_000_000_000)[:6]
    except (OverflowError, ValueError, OSError):
        return _EARLIEST
    return moment if 1980 <= moment[0] <= 2107 else _EARLIEST
