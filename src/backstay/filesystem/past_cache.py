"""Large files past the page cache (open(2), O_DIRECT): what is restored is not read again soon.

Through the page cache it would be copied once more, push out what the users of the file server work with,
and on many virtual machines cost more processor time than decrypting and decompressing it. What is read
back this way has come from the disk.
"""

import errno
import mmap
import threading
from contextlib import suppress
from typing import Final

from backstay.filesystem.writer import write_at
from backstay.system.calls import os

LARGE_FILE: Final = 4 << 20
"""Files from this size on are worth it."""

_BLOCK: Final = 4096
_LARGE_PIECE: Final = 128 << 10
_STAGE: Final = 8 << 20
_REFUSED: Final = (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOTTY)

_DIRECT: Final[int] = getattr(os, "O_DIRECT", 0)

_local = threading.local()


class FileDoor:
    """One open file, through which large pieces go past the page cache where its file system allows that.

    Safe to use from several threads. Pieces may lie anywhere: their whole blocks go past the page cache,
    the parts of blocks at both ends through it.

    Args:
        fd: the open file; it stays the caller's.
        writing: whether pieces are written; else they are read.
    """

    def __init__(self, fd: int, *, writing: bool) -> None:
        self._fd = fd
        self._direct = -1
        if _DIRECT:
            # A second open file: O_DIRECT on the first would hold for every call that uses it meanwhile.
            mode = os.O_WRONLY if writing else os.O_RDONLY
            with suppress(OSError):
                self._direct = os.open(b"/proc/self/fd/%d" % fd, mode | _DIRECT | os.O_CLOEXEC)

    def write(self, offset: int, data: bytes | bytearray | memoryview) -> None:
        """Write all of `data` at `offset`.

        Raises:
            OSError, TargetError: as `write_at`.
        """
        view = memoryview(data)
        start, end = -(-offset // _BLOCK) * _BLOCK, (offset + len(view)) // _BLOCK * _BLOCK
        if self._direct < 0 or end - start < _LARGE_PIECE:
            write_at(self._fd, offset, view)
            return
        stage, done = _stage(), start
        while done < end:
            part = stage[: min(_STAGE, end - done)]
            part[:] = view[done - offset : done - offset + len(part)]
            try:
                write_at(self._direct, done, part)
            except OSError as error:
                if error.errno not in _REFUSED:
                    raise
                # This file system wants another alignment.
                write_at(self._fd, offset, view)
                return
            done += len(part)
        if offset < start:
            write_at(self._fd, offset, view[: start - offset])
        if end - offset < len(view):
            write_at(self._fd, end, view[end - offset :])

    def read(self, offset: int, length: int) -> bytes | memoryview:
        """`length` bytes from `offset`; fewer where the file ends. Valid until this thread reads again.

        Raises:
            OSError: it cannot be read.
        """
        start = offset // _BLOCK * _BLOCK
        wanted = -(-(offset + length) // _BLOCK) * _BLOCK - start
        if self._direct >= 0 and length >= _LARGE_PIECE and wanted <= _STAGE:
            stage = _stage()
            try:
                got = os.preadv(self._direct, [stage[:wanted]], start)
            except OSError as error:
                if error.errno not in _REFUSED:
                    raise
                got = 0
            if got >= offset - start + length:
                return stage[offset - start : offset - start + length]
        data = os.pread(self._fd, length, offset)
        while len(data) < length:
            more = os.pread(self._fd, length - len(data), offset + len(data))
            if not more:
                break
            data += more
        return data

    def close(self) -> None:
        """Close what was opened here."""
        if self._direct >= 0:
            os.close(self._direct)
            self._direct = -1


def _stage() -> memoryview:
    """An aligned buffer of this thread."""
    try:
        stage: memoryview = _local.stage
    except AttributeError:
        stage = _local.stage = memoryview(mmap.mmap(-1, _STAGE))
    return stage
