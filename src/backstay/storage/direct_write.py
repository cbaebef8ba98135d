"""Writing large files past the page cache (open(2), O_DIRECT).

An object is written once, synced and not read again soon. Going through the page cache
would copy it, evict what the file server's users work with, and on many virtual machines
cost more processor time than sealing it did.
"""

import errno
import fcntl
import mmap
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from backstay.storage.file_bytes import write_all

_ALIGNMENT = 4096
_STAGE = 8 << 20

_MOST_STAGES = 3


class _Stages:
    """Aligned buffers: a few for all threads, for a server writes in dozens of them."""

    def __init__(self) -> None:
        self._left = threading.Semaphore(_MOST_STAGES)
        self._free: list[memoryview] = []

    @contextmanager
    def borrowed(self) -> Iterator[memoryview]:
        """One of them, as soon as one is free."""
        with self._left:
            try:
                stage = self._free.pop()
            except IndexError:
                stage = memoryview(mmap.mmap(-1, _STAGE))
            try:
                yield stage
            finally:
                self._free.append(stage)


_stages = _Stages()


def write_direct(fd: int, views: Sequence[memoryview]) -> None:
    """Write all of `views` to an empty file, past the page cache where its file system allows that.

    Raises:
        OSError: as write(2).
    """
    if not _switch(fd, direct=True):
        write_all(fd, views)
        return
    with _stages.borrowed() as stage:
        _write_staged(fd, views, stage)


def _write_staged(fd: int, views: Sequence[memoryview], stage: memoryview) -> None:
    filled = 0
    left = list(reversed(views))
    while left:
        view = left.pop()
        count = min(view.nbytes, _STAGE - filled)
        stage[filled : filled + count] = view[:count]
        filled += count
        if count < view.nbytes:
            left.append(view[count:])
        if filled == _STAGE and left:
            if not _write_aligned(fd, stage[:filled]):
                write_all(fd, [stage[:filled], *reversed(left)])
                return
            filled = 0
    whole = filled - filled % _ALIGNMENT
    if whole and not _write_aligned(fd, stage[:whole]):
        whole = 0
    if whole < filled:
        _switch(fd, direct=False)
        write_all(fd, [stage[whole:filled]])


def _write_aligned(fd: int, part: memoryview) -> bool:
    """False where the file system wants another alignment; it then takes plain writes from here on."""
    done = 0
    while done < part.nbytes:
        try:
            count = os.write(fd, part[done:])
        except OSError as error:
            if error.errno != errno.EINVAL or done:
                raise
            _switch(fd, direct=False)
            return False
        if not count:
            raise OSError(errno.EIO, "the file takes no more bytes")
        done += count
        if done % _ALIGNMENT and done < part.nbytes:
            # A full disk may end a direct write anywhere; a plain one says why.
            _switch(fd, direct=False)
    return True


def _switch(fd: int, *, direct: bool) -> bool:
    flags = fcntl.fcntl(fd, fcntl.F_GETFL)
    try:
        fcntl.fcntl(fd, fcntl.F_SETFL, flags | os.O_DIRECT if direct else flags & ~os.O_DIRECT)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        return False
    return True
