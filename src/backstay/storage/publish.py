"""Giving a finished file its final name, never over another: in one step, on any filesystem.

link       POSIX; fails with EEXIST; NFS too            not on vfat, exFAT, some CIFS
renameat2  RENAME_NOREPLACE, Linux 3.15, per filesystem not on NFS
flock      look, then rename, under one lock            holds among Backstay processes only
"""

import ctypes
import errno
import os
import sys
from pathlib import Path

_UNSUPPORTED = frozenset(
    (errno.EPERM, errno.EACCES, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL, errno.EMLINK)
)
_AT_FDCWD = -100
_RENAME_NOREPLACE = 1


def publish(aside: Path, final: Path, lock: Path) -> None:
    """Make `aside` appear as `final`; `aside` may remain as a second name of it.

    Args:
        aside: a finished file.
        final: its name to be, in a folder of the same filesystem.
        lock: a file used as lock where the filesystem cannot do it in one step.

    Raises:
        FileExistsError: there is something at `final`; it is untouched.
        OSError: any other reason of the operating system.
    """
    for method in (link, rename_noreplace):
        try:
            return method(aside, final)
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                raise
    return rename_locked(aside, final, lock)


def link(aside: Path, final: Path) -> None:
    """By link(2)."""
    os.link(aside, final)


def rename_noreplace(aside: Path, final: Path) -> None:
    """By renameat2(2). Raises OSError with ENOSYS where the platform has no such call."""
    call = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None) if sys.platform == "linux" else None
    if call is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    if call(_AT_FDCWD, os.fsencode(aside), _AT_FDCWD, os.fsencode(final), _RENAME_NOREPLACE) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(final))


def rename_locked(aside: Path, final: Path, lock: Path) -> None:
    """By looking and renaming while holding flock(2) on `lock`; on Windows, rename alone never replaces."""
    if sys.platform == "win32":
        os.rename(aside, final)
        return
    import fcntl

    fd = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        if os.path.lexists(final):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(final))
        os.rename(aside, final)
    finally:
        os.close(fd)
