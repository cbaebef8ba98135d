"""What is captured of a file beside its content, whatever the system."""

import os
from typing import NamedTuple

from backstay.domain.entry import FileStat


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
