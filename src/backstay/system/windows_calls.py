"""What the engine uses of the module `os`, on Windows: see `calls`.

What Windows has no notion of does nothing (owners and modes as numbers, advice about reading ahead): what
it has instead is captured and restored by `filesystem/metadata_windows.py`.
"""

import builtins
import errno
import os as _os
import stat as _stat
import sys
from ctypes import byref, c_int64, sizeof, windll
from os import environ, fsdecode, fsencode, fsync, getpid, strerror, umask, urandom
from typing import Final, NamedTuple

from backstay.system import engine_path as path
from backstay.system import nt_api as nt
from backstay.system.content_windows import (
    RWF_NOWAIT,
    SEEK_DATA,
    SEEK_HOLE,
    ftruncate,
    lseek,
    pread,
    preadv,
    pwrite,
)
from backstay.system.listing_windows import listdir, scandir
from backstay.system.nt_stat import BASIC, Status, to_filetime
from backstay.system.nt_status import (
    error_text,
    status_error,
)
from backstay.system.reparse import symlink_data
from backstay.system.reparse import target_of as _target_of_data
from backstay.system.windows_open import (
    O_APPEND,
    O_CLOEXEC,
    O_CREAT,
    O_DIRECTORY,
    O_EXCL,
    O_NOATIME,
    O_NOFOLLOW,
    O_NONBLOCK,
    O_PATH,
    O_RDONLY,
    O_RDWR,
    O_TRUNC,
    O_WRONLY,
    OlderWindows,
    PathLike,
    attribute_tag,
    close,
    close_handle,
    device_control,
    dup,
    is_root,
    open,
    open_handle,
    place_of,
    raw_handle,
    read_reparse,
    set_information,
    status_of_handle,
    status_of_name,
    target_of,
)
from backstay.system.windows_paths import name_of

assert sys.platform == "win32"

__all__ = [
    "O_APPEND", "O_CLOEXEC", "O_CREAT", "O_DIRECTORY", "O_EXCL", "O_NOATIME", "O_NOFOLLOW", "O_NONBLOCK",
    "O_PATH", "O_RDONLY", "O_RDWR", "O_TRUNC", "O_WRONLY", "POSIX_FADV_DONTNEED", "POSIX_FADV_RANDOM",
    "POSIX_FADV_SEQUENTIAL", "POSIX_FADV_WILLNEED", "RWF_NOWAIT", "SEEK_DATA", "SEEK_HOLE", "PathLike",
    "close", "dup", "environ", "fdopen", "fsdecode", "fsencode", "fstat", "fstatvfs", "fsync", "ftruncate",
    "geteuid", "getpid", "link", "listdir", "lseek", "lstat", "makedirs", "mkdir", "mknod", "open", "path",
    "posix_fadvise", "pread", "preadv", "pwrite", "read", "readlink", "rename", "rmdir", "scandir", "stat",
    "stat_result", "strerror", "symlink", "umask", "unlink", "urandom", "utime", "write",
]  # fmt: skip

stat_result = Status
fdopen, read, write = _os.fdopen, _os.read, _os.write

POSIX_FADV_RANDOM, POSIX_FADV_SEQUENTIAL, POSIX_FADV_WILLNEED, POSIX_FADV_DONTNEED = 1, 2, 3, 4

_POSIX, _REPLACE, _IGNORE_READONLY = 0x2, 0x1, 0x40
_DELETE, _DELETE_POSIX, _DELETE_READONLY = 0x1, 0x2, 0x10


def geteuid() -> int:
    """0 where the process may do everything that a backup needs, as root may."""
    return 0 if windll.shell32.IsUserAnAdmin() else 1000


def posix_fadvise(fd: int, offset: int, length: int, advice: int) -> None:
    """Nothing: Windows reads ahead by itself."""


# What a file is


def fstat(fd: int) -> Status:
    """As os.fstat."""
    return _ROOT if is_root(fd) else status_of_handle(raw_handle(fd))


def stat(file: PathLike, *, dir_fd: int | None = None, follow_symlinks: bool = True) -> Status:
    """As os.stat."""
    if dir_fd is None and place_of(file) == b"/":
        return _ROOT
    root, name = target_of(file, dir_fd)
    if not follow_symlinks:
        return status_of_name(root, name)
    handle = open_handle(root, name, nt.READ_ATTRIBUTES)
    try:
        return status_of_handle(handle)
    finally:
        close_handle(handle)


def lstat(file: PathLike) -> Status:
    """As os.lstat."""
    return stat(file, follow_symlinks=False)


def readlink(file: PathLike, *, dir_fd: int | None = None) -> bytes:
    """As os.readlink, with the target as a restore point has it."""
    handle = open_handle(*target_of(file, dir_fd), nt.READ_ATTRIBUTES, options=nt.OPEN_REPARSE_POINT)
    try:
        return _target_of_data(read_reparse(handle))
    finally:
        close_handle(handle)


class Volume(NamedTuple):
    """As os.statvfs_result; files are not counted."""

    f_frsize: int
    f_blocks: int
    f_bfree: int
    f_bavail: int
    f_files: int = 0
    f_ffree: int = 0


def fstatvfs(fd: int) -> Volume:
    """As os.fstatvfs: FILE_FS_FULL_SIZE_INFORMATION."""
    if is_root(fd):
        return Volume(1, 1 << 62, 1 << 62, 1 << 62)
    room = (c_int64 * 4)()
    status = nt.query_volume(
        raw_handle(fd), byref(nt.IoStatus()), room, sizeof(room), nt.FS_FULL_SIZE_INFORMATION
    )
    if status < 0:
        raise status_error(status)
    per_unit, per_sector = room[3] & 0xFFFFFFFF, room[3] >> 32
    return Volume(per_unit * per_sector, room[0], room[2], room[1])


# Making, naming, removing


def mkdir(file: PathLike, mode: int = 0o777, *, dir_fd: int | None = None) -> None:
    """As os.mkdir."""
    if is_root(dir_fd):
        if path.isdir(b"/" + _name(file)):
            raise FileExistsError(errno.EEXIST, error_text(errno.EEXIST), file)
        raise FileNotFoundError(errno.ENOENT, "there is no such drive", file)
    root, name = target_of(file, dir_fd)
    close_handle(open_handle(root, name, nt.READ_ATTRIBUTES, nt.CREATE, nt.DIRECTORY_FILE))


def makedirs(file: bytes, mode: int = 0o777, exist_ok: bool = False) -> None:
    """As os.makedirs."""
    place = place_of(file)
    if path.isdir(place):
        if not exist_ok:
            raise FileExistsError(errno.EEXIST, error_text(errno.EEXIST), file)
        return
    if path.dirname(place) != place:
        makedirs(path.dirname(place), mode, exist_ok=True)
    mkdir(place, mode)


def mknod(file: PathLike, mode: int = 0o600, device: int = 0, *, dir_fd: int | None = None) -> None:
    """Fifos, sockets and devices: Windows has none in folders. Raises OSError."""
    raise OSError(errno.EOPNOTSUPP, "Windows has no such files", file)


def symlink(target: bytes, file: PathLike, *, dir_fd: int | None = None) -> None:
    """As os.symlink: one that leads to a file, or to nothing that is known to be a folder."""
    make_reparse(*target_of(file, dir_fd), symlink_data(target), folder=False)


def make_reparse(root: int, name: str, data: bytes, *, folder: bool) -> None:
    """Make a reparse point of these bytes. Raises OSError; then nothing of that name is left behind."""
    options = nt.OPEN_REPARSE_POINT | (nt.DIRECTORY_FILE if folder else nt.NON_DIRECTORY_FILE)
    handle = open_handle(root, name, nt.GENERIC_READ | nt.GENERIC_WRITE | nt.DELETE, nt.CREATE, options)
    try:
        device_control(handle, nt.SET_REPARSE_POINT, data)
    except OSError:
        _delete(handle)
        raise
    finally:
        close_handle(handle)


def link(
    source: PathLike,
    file: PathLike,
    *,
    src_dir_fd: int | None = None,
    dst_dir_fd: int | None = None,
    follow_symlinks: bool = False,
) -> None:
    """As os.link."""
    handle = open_handle(*target_of(source, src_dir_fd), nt.WRITE_ATTRIBUTES, options=nt.OPEN_REPARSE_POINT)
    try:
        set_information(handle, nt.LINK_INFORMATION, _new_name(0, *target_of(file, dst_dir_fd)))
    finally:
        close_handle(handle)


def rename(
    source: PathLike, file: PathLike, *, src_dir_fd: int | None = None, dst_dir_fd: int | None = None
) -> None:
    """As os.rename: replaces what has that name, also what is open or read-only, but for folders."""
    target = target_of(file, dst_dir_fd)
    handle = open_handle(
        *target_of(source, src_dir_fd), nt.DELETE | nt.READ_ATTRIBUTES, options=nt.OPEN_REPARSE_POINT
    )
    try:
        flags = _REPLACE | _POSIX | _IGNORE_READONLY
        try:
            set_information(handle, nt.RENAME_INFORMATION_EX, _new_name(flags, *target))
        except OlderWindows:
            set_information(handle, nt.RENAME_INFORMATION, _new_name(_REPLACE, *target))
    except OSError as error:
        if error.errno == errno.EACCES and _is_folder(target):
            raise IsADirectoryError(errno.EISDIR, error_text(errno.EISDIR), file) from error
        raise
    finally:
        close_handle(handle)


def unlink(file: PathLike, *, dir_fd: int | None = None) -> None:
    """As os.unlink: also what is open or read-only, and links that lead to folders."""
    handle = open_handle(
        *target_of(file, dir_fd), nt.DELETE | nt.READ_ATTRIBUTES, options=nt.OPEN_REPARSE_POINT
    )
    try:
        attributes, tag = attribute_tag(handle)
        if attributes & nt.ATTRIBUTE_DIRECTORY and not tag:
            raise IsADirectoryError(errno.EISDIR, error_text(errno.EISDIR), file)
        _delete(handle)
    finally:
        close_handle(handle)


def rmdir(file: PathLike, *, dir_fd: int | None = None) -> None:
    """As os.rmdir."""
    options = nt.OPEN_REPARSE_POINT | nt.DIRECTORY_FILE
    handle = open_handle(*target_of(file, dir_fd), nt.DELETE | nt.READ_ATTRIBUTES, options=options)
    try:
        _delete(handle)
    finally:
        close_handle(handle)


def utime(
    file: PathLike | int, *, ns: tuple[int, int], dir_fd: int | None = None, follow_symlinks: bool = True
) -> None:
    """As os.utime; to a multiple of 100 nanoseconds."""
    times = BASIC.pack(0, to_filetime(ns[0]), to_filetime(ns[1]), 0, 0)
    root, name = (raw_handle(file), "") if isinstance(file, int) else target_of(file, dir_fd)
    handle = open_handle(root, name, nt.WRITE_ATTRIBUTES, options=nt.OPEN_REPARSE_POINT)
    try:
        set_information(handle, nt.BASIC_INFORMATION, times)
    finally:
        close_handle(handle)


def _new_name(flags: int, root: int, name: str) -> bytes:
    """FILE_RENAME_INFORMATION and FILE_LINK_INFORMATION."""
    raw = name.encode("utf-16-le", "surrogatepass")
    head = flags.to_bytes(8, "little") + root.to_bytes(8, "little") + len(raw).to_bytes(4, "little")
    return (head + raw).ljust(24 + 2, b"\0")


def _delete(handle: int) -> None:
    try:
        flags = _DELETE | _DELETE_POSIX | _DELETE_READONLY
        set_information(handle, nt.DISPOSITION_INFORMATION_EX, flags.to_bytes(4, "little"))
    except OlderWindows:
        attributes, _ = attribute_tag(handle)
        if attributes & nt.ATTRIBUTE_READONLY:
            writable = open_handle(handle, "", nt.WRITE_ATTRIBUTES, options=nt.OPEN_REPARSE_POINT)
            try:
                plain = BASIC.pack(0, 0, 0, 0, (attributes & ~nt.ATTRIBUTE_READONLY) or 0x80)
                set_information(writable, nt.BASIC_INFORMATION, plain)
            finally:
                close_handle(writable)
        set_information(handle, nt.DISPOSITION_INFORMATION, b"\1")


def _is_folder(target: tuple[int, str]) -> bool:
    try:
        return _stat.S_ISDIR(status_of_name(*target).st_mode)
    except OSError:
        return False


def _name(file: PathLike) -> bytes:
    plain = _os.fspath(file)
    return name_of(plain) if isinstance(plain, str) else builtins.bytes(plain)


_ROOT: Final = Status(_stat.S_IFDIR | 0o755, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, nt.ATTRIBUTE_DIRECTORY, 0)
