"""Reading one regular file for a backup.

Every function works on a name below an open directory and never follows a symbolic link, so nobody can
swap one in and lead the backup out of its tree. What the operating system refuses comes as OSError, for
which `reasons.reason_of` has words: one file's trouble is a line in the job, not the end of it.
"""

import errno
import stat
from collections.abc import Callable, Iterator
from typing import Final

from backstay.domain.entry import FileStat
from backstay.system.calls import os

WINDOW: Final = 8 << 20
"""Bytes of a large file that are asked of the kernel at a time."""

_DROP_FROM: Final = 64 << 20
_PLAIN: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_QUIET: Final = _PLAIN | os.O_NOATIME


def open_regular(dir_fd: int, name: bytes) -> int:
    """Open the file `name` of the open directory for reading, without touching its access time.

    Never blocks on a fifo. The caller checks by fstat that it is a regular file.

    Raises:
        OSError: it cannot be opened; ELOOP where it has become a symbolic link.
    """
    try:
        return os.open(name, _QUIET, dir_fd=dir_fd)
    except OSError as error:
        # Only the owner and root may leave the access time alone: open(2), O_NOATIME.
        if error.errno == errno.EPERM:
            return os.open(name, _PLAIN, dir_fd=dir_fd)
        if error.errno == errno.EAGAIN:
            return _open_leased(dir_fd, name)
        raise


def _open_leased(dir_fd: int, name: bytes) -> int:
    """Open a file under lease (Samba's oplocks: fcntl(2), F_SETLEASE) as soon as its holder gives it up."""
    handle = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=dir_fd)
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN), name)
        return os.open(b"/proc/self/fd/%d" % handle, os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(handle)


def read_into(fd: int, offset: int, buffer: memoryview) -> int:
    """Fill `buffer` from `offset` of the open file; returns how many bytes there were.

    Fewer than the buffer holds means that the file ends there.

    Raises:
        OSError: it cannot be read.
    """
    done, wanted = 0, len(buffer)
    while done < wanted:
        got = os.preadv(fd, [buffer[done:] if done else buffer], offset + done)
        if got == 0:
            break
        done += got
    return done


def read_extent(
    fd: int, offset: int, length: int, room: Callable[[int], memoryview], window: int = WINDOW
) -> Iterator[memoryview]:
    """Read `length` bytes from `offset`, window after window.

    All but the last are as long as `window`. They end early where the file has become shorter. While the
    caller works on one, the kernel fetches the next.

    Of a large extent, windows that were not in the page cache before are dropped from it behind the
    reader, so that a backup does not push out what the users of the file server work with; windows that
    were cached stay.

    Args:
        room: gives the memory, of so many bytes, that the next window is to be read into.

    Raises:
        OSError: it cannot be read.
    """
    end = offset + length
    drops = length >= _DROP_FROM
    if length > window:
        # The kernel's own read-ahead would reach into windows that are still to be looked at below.
        os.posix_fadvise(fd, offset, length, os.POSIX_FADV_RANDOM)
    keep = not drops or _is_cached(fd, offset, min(window, length))
    while offset < end:
        size = min(window, end - offset)
        following = offset + size
        keep_following = True
        if following < end:
            ahead = min(window, end - following)
            keep_following = not drops or _is_cached(fd, following, ahead)
            os.posix_fadvise(fd, following, ahead, os.POSIX_FADV_WILLNEED)
        buffer = room(size)
        got = read_into(fd, offset, buffer)
        if got:
            yield buffer[:got]
        if not keep:
            os.posix_fadvise(fd, offset, got, os.POSIX_FADV_DONTNEED)
        if got < size:
            return
        offset, keep = following, keep_following


def _is_cached(fd: int, offset: int, length: int) -> bool:
    """Whether the range is in the page cache, by its first, middle and last page; True where unknown.

    RWF_NOWAIT reads only what needs no waiting: preadv2(2).
    """
    page = [bytearray(1)]
    try:
        for each in (offset, offset + length // 2, offset + length - 1):
            os.preadv(fd, page, each, os.RWF_NOWAIT)
    except OSError as error:
        return error.errno != errno.EAGAIN
    return True


def same_version(before: FileStat, st: os.stat_result) -> bool:
    """Whether the file whose fstat is `st` is still the version that was seen `before`."""
    return (
        st.st_size == before.size
        and st.st_mtime_ns == before.mtime_ns
        and st.st_ctime_ns == before.ctime_ns
        and st.st_ino == before.inode
    )
