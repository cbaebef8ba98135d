"""What Windows says of a file, in the fields of a Linux stat.

Structures: https://learn.microsoft.com/windows-hardware/drivers/ddi/ntifs/ns-ntifs-_file_stat_information
https://learn.microsoft.com/windows-hardware/drivers/ddi/ntifs/ns-ntifs-_file_all_information
"""

import stat
import struct
from typing import Final, NamedTuple

_EPOCH: Final = 116_444_736_000_000_000
"""1970-01-01 as a FILETIME: hundreds of nanoseconds since 1601."""

READONLY: Final = 0x1
DIRECTORY: Final = 0x10
REPARSE: Final = 0x400

SYMLINK: Final = 0xA000000C
MOUNT_POINT: Final = 0xA0000003
LX_SYMLINK: Final = 0xA000001D
LX_FIFO: Final = 0x80000024
LX_CHARACTER: Final = 0x80000025
LX_BLOCK: Final = 0x80000026
AF_UNIX: Final = 0x80000023

_LINKS: Final = frozenset((SYMLINK, MOUNT_POINT, LX_SYMLINK))
_NAME_SURROGATE: Final = 0x20000000
_SOCKETS: Final = {AF_UNIX: stat.S_IFSOCK, LX_FIFO: stat.S_IFIFO}

ALL: Final = struct.Struct("<4qI4x2qI2B2xq")
"""FILE_ALL_INFORMATION as far as FILE_INTERNAL_INFORMATION."""
STAT: Final = struct.Struct("<q4q2q3I4x")
"""FILE_STAT_INFORMATION."""
BASIC: Final = struct.Struct("<4qI4x")
"""FILE_BASIC_INFORMATION; a time of zero leaves what is there."""


class Status(NamedTuple):
    """As os.stat_result; `st_ctime_ns` is NTFS's ChangeTime, which every change of anything moves.

    Mode and owner are made up: folders 0755, files 0644, or 0444 where they are read-only; root.
    What Windows really has is captured with the extended attributes.
    """

    st_mode: int
    st_ino: int
    st_dev: int
    st_nlink: int
    st_uid: int
    st_gid: int
    st_size: int
    st_atime_ns: int
    st_mtime_ns: int
    st_ctime_ns: int
    st_blocks: int
    st_rdev: int
    st_birthtime_ns: int
    st_file_attributes: int
    st_reparse_tag: int

    @property
    def st_mtime(self) -> float:
        """Seconds."""
        return self.st_mtime_ns / 1e9


def to_ns(filetime: int) -> int:
    """Nanoseconds since 1970 of a FILETIME."""
    return (filetime - _EPOCH) * 100


def to_filetime(ns: int) -> int:
    """The other way round; what lies before 1601 becomes the first that Windows can tell."""
    return max(1, ns // 100 + _EPOCH)


def is_link(tag: int) -> bool:
    """Whether a reparse point of this kind is a symbolic link to the engine.

    All that stand for another name are, also unknown ones: what is followed could lead out of the tree.
    https://learn.microsoft.com/windows/win32/fileio/reparse-point-tags (the bit N)
    """
    return tag in _LINKS or bool(tag & _NAME_SURROGATE)


def mode_of(attributes: int, tag: int) -> int:
    """st_mode. A reparse point that some filter driver resolves looks like what the driver makes of it."""
    if attributes & REPARSE and tag:
        if is_link(tag):
            return stat.S_IFLNK | 0o777
        if tag in _SOCKETS:
            return _SOCKETS[tag] | 0o666
    if attributes & DIRECTORY:
        return stat.S_IFDIR | 0o755
    return stat.S_IFREG | (0o444 if attributes & READONLY else 0o644)


def status_of(
    times: tuple[int, int, int, int],
    sizes: tuple[int, int],
    attributes: int,
    tag: int,
    links: int,
    inode: int,
    device: int,
) -> Status:
    """A status.

    Args:
        times: of creation, access, writing and change, as FILETIME.
        sizes: allocated, and the end of the file.
    """
    mode = mode_of(attributes, tag)
    is_file = stat.S_ISREG(mode)
    created, accessed, written, changed = times
    return Status(
        mode,
        # An inode number is signed nowhere else; ReFS gives 128 bits, of which these are the lower ones.
        inode & 0x7FFF_FFFF_FFFF_FFFF,
        device,
        links if not attributes & DIRECTORY else 1,
        0,
        0,
        sizes[1] if is_file else 0,
        to_ns(accessed),
        to_ns(written),
        to_ns(changed) if changed else 0,
        -(-sizes[0] // 512) if is_file else 0,
        0,
        to_ns(created),
        attributes,
        tag,
    )
