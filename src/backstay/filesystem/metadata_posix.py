"""Capturing what Linux knows of a file beyond its stat: extended attributes, inode flags, device numbers.

Access control lists and capabilities are extended attributes to the kernel
(`system.posix_acl_access`, `security.capability`), and are captured as such: acl(5), capabilities(7).
"""

import errno
import fcntl
import os
import stat
import struct
from typing import Final

from backstay.domain.entry import Entry
from backstay.filesystem.extras import Extras
from backstay.filesystem.inode_flags import PROTECTED, USER_FLAGS
from backstay.filesystem.reasons import reason_of

# <linux/fs.h>; the request numbers are _IOR('f', 1, long) and _IOW('f', 2, long), the value is an int.
_LONG: Final = struct.calcsize("l")
_GET_FLAGS: Final = 2 << 30 | _LONG << 16 | ord("f") << 8 | 1
_SET_FLAGS: Final = 1 << 30 | _LONG << 16 | ord("f") << 8 | 2
_ROOM: Final = bytes(_LONG)
_FLAGS: Final = struct.Struct("I")

CARRIES_MODES: Final = True
"""Whether the file systems of this kind of system keep modes and owners as numbers."""

TIME_GRAIN_NS: Final = 1
"""Modification times are kept to a multiple of this."""

MOST_XATTR_BYTES: Final = 1 << 20
"""Extended attributes of one file beyond this are not kept; ext4 and NFS have at most 64 KiB."""

_NOT_SUPPORTED: Final = (errno.EOPNOTSUPP, errno.ENOTTY, errno.ENOSYS)


_NO_EXTRAS: Final = Extras()
_NO_XATTRS: Final[tuple[tuple[tuple[bytes, bytes], ...], str]] = ((), "")


def path_at(dir_fd: int, name: bytes) -> bytes:
    """A short path of the entry `name` of the open directory, for calls that know no directory descriptor."""
    return b"/proc/self/fd/%d/%b" % (dir_fd, name)


def get_flags(fd: int) -> int:
    """All inode flags of the open file or directory. Raises OSError."""
    flags: int = _FLAGS.unpack_from(fcntl.ioctl(fd, _GET_FLAGS, _ROOM))[0]
    return flags


def set_flags(fd: int, flags: int) -> None:
    """Replace the inode flags of the open file or directory. Raises OSError."""
    fcntl.ioctl(fd, _SET_FLAGS, _FLAGS.pack(flags).ljust(_LONG, b"\0"))


def lift_protection(fd: int) -> int:
    """Take from the open file or directory the flags that forbid changes; returns those that it had.

    Zero also where they cannot be changed.
    """
    try:
        flags = get_flags(fd)
        if flags & PROTECTED:
            set_flags(fd, flags & ~PROTECTED)
        return flags & PROTECTED
    except OSError:
        return 0


def protect(fd: int, flags: int) -> None:
    """Give back what `lift_protection` took. Raises OSError."""
    set_flags(fd, get_flags(fd) | flags)


def make_node(dir_fd: int, name: bytes, entry: Entry) -> None:
    """Make the symbolic link, fifo, socket or device `name` of the open directory. Raises OSError."""
    if entry.is_symlink:
        os.symlink(entry.inline or b"", name, dir_fd=dir_fd)
    else:
        os.mknod(name, stat.S_IFMT(entry.mode) | 0o600, entry.rdev, dir_fd=dir_fd)


class ExtrasReader:
    """Captures extras for the length of one job.

    It remembers which devices have no extended attributes or no inode flags, and does not ask those again.
    """

    def __init__(self) -> None:
        self._without_xattrs: set[int] = set()
        self._without_flags: set[int] = set()

    def of_open(self, fd: int, st: os.stat_result) -> Extras:
        """Extras of an open regular file or directory whose fstat is `st`. Never raises OSError."""
        device = st.st_dev
        xattrs, problem = _NO_XATTRS if device in self._without_xattrs else self._xattrs(fd, device)
        flags = 0
        if device not in self._without_flags:
            try:
                flags = get_flags(fd) & USER_FLAGS
            except OSError as error:
                if error.errno in _NOT_SUPPORTED:
                    self._without_flags.add(device)
                else:
                    problem = problem or f"inode flags could not be read: {reason_of(error)}"
        if xattrs or flags or problem:
            return Extras(xattrs, flags, 0, problem)
        return _NO_EXTRAS

    def of_named(self, dir_fd: int, name: bytes, st: os.stat_result) -> Extras:
        """Extras of the symbolic link, fifo, socket or device `name` of the open directory.

        `st` is its lstat. The entry is neither opened nor followed. Never raises OSError.
        """
        device = st.st_dev
        xattrs, problem = (
            _NO_XATTRS if device in self._without_xattrs else self._xattrs(path_at(dir_fd, name), device)
        )
        rdev = st.st_rdev if stat.S_ISCHR(st.st_mode) or stat.S_ISBLK(st.st_mode) else 0
        if xattrs or rdev or problem:
            return Extras(xattrs, 0, rdev, problem)
        return _NO_EXTRAS

    def _xattrs(self, file: int | bytes, device: int) -> tuple[tuple[tuple[bytes, bytes], ...], str]:
        follow = isinstance(file, int)
        try:
            names = os.listxattr(file, follow_symlinks=follow)
        except OSError as error:
            if error.errno in _NOT_SUPPORTED:
                self._without_xattrs.add(device)
                return _NO_XATTRS
            return (), f"extended attributes could not be read: {reason_of(error)}"
        if not names:
            return _NO_XATTRS
        found, problem = [], ""
        for name in names:
            try:
                found.append((os.fsencode(name), os.getxattr(file, name, follow_symlinks=follow)))
            except OSError as error:
                # Another process may take an attribute away between the list and the read.
                if error.errno != errno.ENODATA:
                    problem = problem or f"extended attribute {name} could not be read: {reason_of(error)}"
        if sum(len(name) + len(value) for name, value in found) > MOST_XATTR_BYTES:
            return (), f"its extended attributes are larger than {MOST_XATTR_BYTES >> 20} MiB together"
        return tuple(sorted(found)), problem
