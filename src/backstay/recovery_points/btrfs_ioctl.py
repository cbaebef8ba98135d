"""The few calls of btrfs that freezing needs: linux/btrfs.h, linux/btrfs_tree.h, btrfs-ioctl(2)."""

import errno
import fcntl
import os
import struct
from typing import Final, NamedTuple

_MAGIC: Final = 0x94
_WRITE, _READ = 1, 2
TOP: Final = 5
"""BTRFS_FS_TREE_OBJECTID: the id of the subvolume at the top of the file system."""

_VOL_ARGS = struct.Struct("=q4088s")
_VOL_ARGS_V2 = struct.Struct("=qQQ32x4040s")
_INO_LOOKUP = struct.Struct("=QQ4080s")
_INO_LOOKUP_USER = struct.Struct("=QQ256s3824s")
_ROOTREF_HEAD = struct.Struct("=Q")
_ROOTREF = struct.Struct("=QQ")
_ROOTREFS = 255
_STRUCT = 4096
_FS_INFO = 1024


def _number(direction: int, number: int, size: int = _STRUCT) -> int:
    return direction << 30 | size << 16 | _MAGIC << 8 | number


_SNAP_DESTROY = _number(_WRITE, 15)
_LOOKUP = _number(_WRITE | _READ, 18)
_SNAP_CREATE_V2 = _number(_WRITE, 23)
_GET_FS_INFO = _number(_READ, 31, _FS_INFO)
_GET_ROOTREF = _number(_WRITE | _READ, 61)
_LOOKUP_USER = _number(_WRITE | _READ, 62)
_SUBVOL_RDONLY = 2


class Nested(NamedTuple):
    """A subvolume inside another: its id, and its path below the open folder that was asked."""

    id: int
    path: bytes


def subvolume_of(fd: int) -> tuple[int, bytes]:
    """The id of the subvolume in which the open folder lies, and the folder's path in it. Raises OSError.

    Needs CAP_SYS_ADMIN.
    """
    data = bytearray(_STRUCT)
    _INO_LOOKUP.pack_into(data, 0, 0, os.fstat(fd).st_ino, b"")
    fcntl.ioctl(fd, _LOOKUP, data)
    tree, _, path = _INO_LOOKUP.unpack(data)
    return tree, path.partition(b"\0")[0].rstrip(b"/")


def nested_in(fd: int) -> list[Nested]:
    """The subvolumes directly in the subvolume of the open folder, as far as they lie below the folder.

    Those inside them are not among them. Linux 4.18. Raises OSError.
    """
    found: list[Nested] = []
    start = 0
    while True:
        data = bytearray(_STRUCT)
        _ROOTREF_HEAD.pack_into(data, 0, start)
        more = False
        try:
            fcntl.ioctl(fd, _GET_ROOTREF, data)
        except OSError as error:
            # There are more than fit: ask again from where this answer ends.
            if error.errno != errno.EOVERFLOW:
                raise
            more = True
        count = data[_ROOTREF_HEAD.size + _ROOTREFS * _ROOTREF.size]
        for number in range(count):
            tree, folder = _ROOTREF.unpack_from(data, _ROOTREF_HEAD.size + number * _ROOTREF.size)
            start = tree + 1
            path = _path_below(fd, tree, folder)
            if path is not None:
                found.append(Nested(tree, path))
        if not more:
            return found


def _path_below(fd: int, tree: int, folder: int) -> bytes | None:
    data = bytearray(_STRUCT)
    _INO_LOOKUP_USER.pack_into(data, 0, folder, tree, b"", b"")
    try:
        fcntl.ioctl(fd, _LOOKUP_USER, data)
    except OSError as error:
        # Not below the open folder, or deleted meanwhile.
        if error.errno in (errno.EACCES, errno.ENOENT):
            return None
        raise
    _, _, name, path = _INO_LOOKUP_USER.unpack(data)
    return bytes(path.partition(b"\0")[0] + name.partition(b"\0")[0])


def filesystem_id(fd: int) -> bytes:
    """The UUID of the file system, 16 bytes. Raises OSError."""
    data = bytearray(_FS_INFO)
    fcntl.ioctl(fd, _GET_FS_INFO, data)
    return bytes(data[16:32])


def snapshot(subvolume: int, folder: int, name: bytes) -> None:
    """Make a read-only snapshot of an open subvolume, as `name` in the open folder. Raises OSError."""
    fcntl.ioctl(folder, _SNAP_CREATE_V2, bytearray(_VOL_ARGS_V2.pack(subvolume, 0, _SUBVOL_RDONLY, name)))


def destroy(folder: int, name: bytes) -> None:
    """Delete the subvolume `name` of the open folder. Raises OSError."""
    fcntl.ioctl(folder, _SNAP_DESTROY, bytearray(_VOL_ARGS.pack(0, name)))
