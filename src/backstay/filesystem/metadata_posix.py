"""Capturing what Linux knows of a file beyond its stat: extended attributes, inode flags, device numbers.

Access control lists and capabilities are extended attributes to the kernel
(`system.posix_acl_access`, `security.capability`), and are captured as such: acl(5), capabilities(7).
"""

import errno
import fcntl
import os
import stat
import struct
from typing import Final, NamedTuple

from backstay.domain.entry import FileStat
from backstay.filesystem.reasons import reason_of

# <linux/fs.h>; the request numbers are _IOR('f', 1, long) and _IOW('f', 2, long), the value is an int.
_LONG: Final = struct.calcsize("l")
_GET_FLAGS: Final = 2 << 30 | _LONG << 16 | ord("f") << 8 | 1
_SET_FLAGS: Final = 1 << 30 | _LONG << 16 | ord("f") << 8 | 2
_ROOM: Final = bytes(_LONG)
_FLAGS: Final = struct.Struct("I")

IMMUTABLE: Final = 0x00000010
APPEND_ONLY: Final = 0x00000020
CASE_FOLDED: Final = 0x40000000

FLAG_NAMES: Final = {
    0x00000001: "secure deletion",
    0x00000002: "undeletable",
    0x00000004: "compressed",
    0x00000008: "synchronous",
    IMMUTABLE: "immutable",
    APPEND_ONLY: "append only",
    0x00000040: "no dump",
    0x00000080: "no atime",
    0x00000400: "not compressed",
    0x00004000: "journalled data",
    0x00008000: "no tail merging",
    0x00010000: "synchronous directory",
    0x00020000: "top of a directory hierarchy",
    0x00800000: "no copy on write",
    0x02000000: "direct access",
    0x20000000: "project inherited",
    CASE_FOLDED: "case folded",
}
"""The inode flags that a user can set, as ioctl_iflags(2) and chattr(1) list them."""

USER_FLAGS: Final = sum(FLAG_NAMES)

MOST_XATTR_BYTES: Final = 1 << 20
"""Extended attributes of one file beyond this are not kept; ext4 and NFS have at most 64 KiB."""

_NOT_SUPPORTED: Final = (errno.EOPNOTSUPP, errno.ENOTTY, errno.ENOSYS)


class Extras(NamedTuple):
    """What belongs to a file beyond its stat.

    Attributes:
        xattrs: extended attributes of every namespace that may be listed, sorted by name.
        flags: inode flags, only those of `USER_FLAGS`.
        rdev: the number of a character or block device, else 0.
        problem: what could not be captured and why, or empty.
    """

    xattrs: tuple[tuple[bytes, bytes], ...] = ()
    flags: int = 0
    rdev: int = 0
    problem: str = ""


_NO_EXTRAS: Final = Extras()
_NO_XATTRS: Final[tuple[tuple[tuple[bytes, bytes], ...], str]] = ((), "")


def stat_of(name: bytes, st: os.stat_result) -> FileStat:
    """The scan's view of the entry `name` whose lstat is `st`."""
    return FileStat(
        name,
        st.st_mode,
        st.st_size,
        st.st_mtime_ns,
        st.st_ctime_ns,
        st.st_ino,
        st.st_uid,
        st.st_gid,
        st.st_nlink,
    )


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
