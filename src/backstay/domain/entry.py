"""One file's metadata, as it is captured, stored and restored."""

import stat
from enum import IntEnum
from operator import add
from typing import NamedTuple


class Grade(IntEnum):
    """How good a file version is (WORKFLOW: "Every file version knows how good it is")."""

    SNAPSHOT = 0
    """Read from a recovery point."""
    STABLE = 1
    """Read live, and did not change meanwhile."""
    CHANGED = 2
    """Changed while it was read."""
    UNREADABLE = 3
    """Could not be read; the previous version was kept where there was one."""


class FileStat(NamedTuple):
    """What the scan sees of one directory entry; equal stats mean an unchanged file.

    Times are nanoseconds since the epoch, sizes bytes.
    """

    name: bytes
    mode: int
    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int
    uid: int
    gid: int
    nlink: int


class Chunk(NamedTuple):
    """A piece of a file's content, in file order.

    `length` counts bytes of the file. `blob` is the id of the blob that holds
    them, or None for a hole. With `depth` > 0 the blob is a page that lists
    further chunks, which together cover `length` bytes.
    """

    length: int
    blob: bytes | None
    depth: int = 0


class Totals(NamedTuple):
    """What lies below a directory.

    Attributes:
        files, directories, others: entries by kind.
        bytes: content of the files.
        snapshot, changed, unreadable: files of that grade; the others are stable.
    """

    files: int = 0
    directories: int = 0
    others: int = 0
    bytes: int = 0
    snapshot: int = 0
    changed: int = 0
    unreadable: int = 0

    @property
    def stable(self) -> int:
        """Files that were read live and did not change meanwhile."""
        return self.files - self.snapshot - self.changed - self.unreadable

    def plus(self, other: "Totals") -> "Totals":
        """The sum of both."""
        return Totals(*map(add, self, other))


class Entry(NamedTuple):
    """One file, directory, link or special file of a restore point.

    Attributes:
        name: the last path component, as bytes.
        mode: st_mode: type and permissions.
        size: st_size; for regular files the sum of the chunk lengths.
        device: st_dev; together with `inode` it ties hard links; 0 where nlink is 1.
        grade: a `Grade`.
        inline: content of a tiny regular file, or a symbolic link's target.
        chunks: content of a regular file that is not inline; None where it could not be read.
        page: id of a directory's page.
        xattrs: extended attributes, ACLs and capabilities included, by name.
        flags: inode flags as FS_IOC_GETFLAGS gives them, only those that a user can set.
        rdev: st_rdev of a device.
        totals: of a directory: what lies below it.
        user, group: names of uid and gid on the file server, or empty.
    """

    name: bytes
    mode: int
    uid: int
    gid: int
    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int
    nlink: int
    grade: int = Grade.STABLE
    inline: bytes | None = None
    chunks: tuple[Chunk, ...] | None = None
    page: bytes | None = None
    device: int = 0
    xattrs: tuple[tuple[bytes, bytes], ...] = ()
    flags: int = 0
    rdev: int = 0
    totals: Totals | None = None
    user: bytes = b""
    group: bytes = b""

    @property
    def is_directory(self) -> bool:
        """Whether this is a directory."""
        return stat.S_ISDIR(self.mode)

    @property
    def is_regular(self) -> bool:
        """Whether this is a regular file."""
        return stat.S_ISREG(self.mode)

    @property
    def is_symlink(self) -> bool:
        """Whether this is a symbolic link."""
        return stat.S_ISLNK(self.mode)

    @property
    def has_content(self) -> bool:
        """Whether content was captured; False for an unreadable file without a previous version."""
        return self.inline is not None or self.chunks is not None
