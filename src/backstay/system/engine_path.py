"""`os.path` for engine paths on Windows: the rules of POSIX for bytes, the files of Windows below them."""

import stat
import sys
from ctypes import create_unicode_buffer, windll
from ctypes.wintypes import HANDLE
from posixpath import basename, commonpath, dirname, isabs, join, normpath, relpath, split, splitext

from backstay.system.nt_stat import Status
from backstay.system.windows_open import (
    PathLike,
    absolute_here,
    close_handle,
    open_handle,
    place_of,
    status_of_handle,
    status_of_name,
    target_of,
)
from backstay.system.windows_paths import from_windows

assert sys.platform == "win32"

__all__ = [
    "abspath",
    "basename",
    "commonpath",
    "dirname",
    "exists",
    "isabs",
    "isdir",
    "ismount",
    "join",
    "lexists",
    "normpath",
    "realpath",
    "relpath",
    "samestat",
    "split",
    "splitext",
]


def abspath(path: bytes) -> bytes:
    """The engine's path of a path as Windows or the engine writes it."""
    return absolute_here(path)


def realpath(path: bytes) -> bytes:
    """As os.path.realpath; a path that leads to nothing stays as it is."""
    place = absolute_here(path)
    try:
        handle = open_handle(*target_of(place, None), 0x80)
    except OSError:
        return place
    try:
        room = create_unicode_buffer(32768)
        length = windll.kernel32.GetFinalPathNameByHandleW(HANDLE(handle), room, len(room), 0)
    finally:
        close_handle(handle)
    return from_windows(room.value) if 0 < length < len(room) else place


def _status(path: PathLike, *, follow: bool) -> Status | None:
    if place_of(path) == b"/":
        return None
    try:
        root, name = target_of(path, None)
        if not follow:
            return status_of_name(root, name)
        handle = open_handle(root, name, 0x80)
        try:
            return status_of_handle(handle)
        finally:
            close_handle(handle)
    except OSError:
        return None


def exists(path: PathLike) -> bool:
    """As os.path.exists."""
    return place_of(path) == b"/" or _status(path, follow=True) is not None


def lexists(path: PathLike) -> bool:
    """As os.path.lexists."""
    return place_of(path) == b"/" or _status(path, follow=False) is not None


def isdir(path: PathLike) -> bool:
    """As os.path.isdir."""
    found = _status(path, follow=True)
    return place_of(path) == b"/" or (found is not None and stat.S_ISDIR(found.st_mode))


def ismount(path: PathLike) -> bool:
    """Whether it is a drive's root, or the root of something that is not a drive."""
    return place_of(path).rstrip(b"/").count(b"/") <= 1


def samestat(one: Status, other: Status) -> bool:
    """As os.path.samestat."""
    return one.st_ino == other.st_ino and one.st_dev == other.st_dev
