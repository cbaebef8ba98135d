"""What the engine uses of the module `os`, on Windows: see `calls`.

What Windows has no notion of does nothing (owners and modes as numbers, advice about reading ahead): what
it has instead is captured and restored by `filesystem/metadata_windows.py`.
"""

import builtins
import errno
import os as _os
import stat as _stat
import sys
from collections.abc import Iterator, Sequence
from ctypes import byref, c_char, c_int64, create_string_buffer, sizeof, windll
from os import environ, fsdecode, fsencode, fsync, getpid, strerror, umask, urandom
from typing import Final, NamedTuple

from backstay.system import engine_path as path
from backstay.system import nt_api as nt
from backstay.system.nt_stat import BASIC, Status, to_filetime
from backstay.system.nt_status import (
    END_OF_FILE,
    NO_MORE_FILES,
    NO_SUCH_FILE,
    NOT_THERE,
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
    status_of_handle,
    status_of_name,
    target_of,
)
from backstay.system.windows_paths import name_of, nt_path

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

SEEK_DATA, SEEK_HOLE = 3, 4
POSIX_FADV_RANDOM, POSIX_FADV_SEQUENTIAL, POSIX_FADV_WILLNEED, POSIX_FADV_DONTNEED = 1, 2, 3, 4
RWF_NOWAIT: Final = 8

_LISTING: Final = 64 << 10
_SPARSE_FROM: Final = 1 << 20
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


# What is in a folder


class Listed:
    """As os.DirEntry."""

    __slots__ = ("_device", "_place", "_root", "name")

    def __init__(self, root: int, place: str, name: str, device: int) -> None:
        self._root = root
        self._place = place
        self.name = name
        self._device = device

    def stat(self, *, follow_symlinks: bool = True) -> Status:
        """As lstat; nothing is followed. Asked anew: what a listing tells is stale for files in use."""
        return status_of_name(self._root, self._place, self._device)


class _Listing:
    """As what os.scandir gives."""

    def __init__(self, fd: int) -> None:
        # A handle of its own, so that the caller's keeps no place in the listing.
        self._is_root = is_root(fd)
        self._folder = 0 if self._is_root else raw_handle(fd)
        self._handle = 0 if self._is_root else open_handle(self._folder, "", 0x1, options=nt.DIRECTORY_FILE)
        self._device = 0 if self._is_root else status_of_handle(self._folder).st_dev
        self._names = self._drives() if self._is_root else self._read()

    def __enter__(self) -> "_Listing":
        return self

    def __exit__(self, *_: object) -> None:
        if self._handle:
            close_handle(self._handle)
            self._handle = 0

    def __iter__(self) -> Iterator[Listed]:
        return self

    def __next__(self) -> Listed:
        name = next(self._names)
        if self._is_root:
            return Listed(0, nt_path(name_of(name)), name, -1)
        return Listed(self._folder, name, name, self._device)

    def _drives(self) -> Iterator[str]:
        bits = windll.kernel32.GetLogicalDrives()
        return (f"{chr(65 + number)}:" for number in range(26) if bits >> number & 1)

    def _read(self) -> Iterator[str]:
        room, answer = create_string_buffer(_LISTING), nt.IoStatus()
        first = 1
        while True:
            status = nt.query_directory(
                self._handle,
                None,
                None,
                None,
                byref(answer),
                room,
                _LISTING,
                nt.NAMES_INFORMATION,
                0,
                None,
                first,
            )
            if status & 0xFFFFFFFF in (NO_MORE_FILES, NO_SUCH_FILE):
                return
            if status < 0:
                raise status_error(status)
            first, at, raw = 0, 0, room.raw
            while True:
                step = int.from_bytes(raw[at : at + 4], "little")
                length = int.from_bytes(raw[at + 8 : at + 12], "little")
                name = raw[at + 12 : at + 12 + length].decode("utf-16-le", "surrogatepass")
                if name not in {".", ".."}:
                    yield name
                if not step:
                    break
                at += step


def scandir(folder: PathLike | int) -> _Listing:
    """As os.scandir, of an open folder."""
    if isinstance(folder, int):
        return _Listing(folder)
    fd = open(folder, O_RDONLY | O_DIRECTORY)
    try:
        return _Listing(fd)
    finally:
        close(fd)


def listdir(folder: PathLike | int) -> list[str]:
    """As os.listdir."""
    with scandir(folder) as found:
        return [entry.name for entry in found]


# Content


def pread(fd: int, length: int, offset: int) -> bytes:
    """As os.pread, but for the position of a file that is also written by it: that moves (NtReadFile)."""
    room = bytearray(length)
    return bytes(room[: preadv(fd, [room], offset)])


def preadv(fd: int, buffers: Sequence[memoryview | bytearray], offset: int, flags: int = 0) -> int:
    """As os.preadv. With RWF_NOWAIT nothing is read: whether it would have to wait cannot be told."""
    done = 0
    for buffer in buffers:
        length = len(buffer)
        if flags & RWF_NOWAIT or not length:
            continue
        answer, at = nt.IoStatus(), c_int64(offset + done)
        status = nt.read_file(
            raw_handle(fd),
            None,
            None,
            None,
            byref(answer),
            byref(c_char.from_buffer(buffer)),
            length,
            byref(at),
            None,
        )
        if status & 0xFFFFFFFF == END_OF_FILE:
            break
        if status < 0:
            raise status_error(status)
        done += answer.information
        if answer.information < length:
            break
    return done


def pwrite(fd: int, data: bytes | bytearray | memoryview, offset: int) -> int:
    """As os.pwrite."""
    if not len(data):
        return 0
    view = memoryview(data)
    source = bytes(view) if view.readonly else c_char.from_buffer(view)
    answer, at = nt.IoStatus(), c_int64(offset)
    pointer = source if isinstance(source, bytes) else byref(source)
    status = nt.write_file(
        raw_handle(fd), None, None, None, byref(answer), pointer, view.nbytes, byref(at), None
    )
    if status < 0:
        raise status_error(status)
    return int(answer.information)


def ftruncate(fd: int, length: int) -> None:
    """As os.ftruncate; what a file grows by is a hole where the file system can have one."""
    handle = raw_handle(fd)
    if length - status_of_handle(handle).st_size >= _SPARSE_FROM:
        try:
            device_control(handle, nt.SET_SPARSE)
        except OSError as error:
            if error.errno != errno.EOPNOTSUPP:
                raise
    _set(handle, nt.END_OF_FILE_INFORMATION, length.to_bytes(8, "little"))


def lseek(fd: int, offset: int, how: int) -> int:
    """As os.lseek; SEEK_DATA and SEEK_HOLE by FSCTL_QUERY_ALLOCATED_RANGES.

    Where the file system cannot tell, all of a file is data.
    """
    if how not in (SEEK_DATA, SEEK_HOLE):
        return _os.lseek(fd, offset, how)
    handle = raw_handle(fd)
    size = status_of_handle(handle).st_size
    if offset >= size:
        raise OSError(errno.ENXIO, error_text(errno.ENXIO))
    asked = offset.to_bytes(8, "little") + (size - offset).to_bytes(8, "little")
    try:
        answer = device_control(handle, nt.QUERY_ALLOCATED_RANGES, asked, 16 * 64)
    except OSError as error:
        if error.errno != errno.EOPNOTSUPP:
            raise
        return offset if how == SEEK_DATA else size
    ranges = [
        (int.from_bytes(answer[at : at + 8], "little"), int.from_bytes(answer[at + 8 : at + 16], "little"))
        for at in range(0, len(answer), 16)
    ]
    if how == SEEK_DATA:
        if not ranges:
            raise OSError(errno.ENXIO, error_text(errno.ENXIO))
        return max(offset, ranges[0][0])
    end = offset
    for start, length in ranges:
        if start > end:
            break
        end = start + length
    return min(end, size)


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
        _set(handle, nt.LINK_INFORMATION, _new_name(0, *target_of(file, dst_dir_fd)))
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
            _set(handle, nt.RENAME_INFORMATION_EX, _new_name(flags, *target))
        except _OlderWindows:
            _set(handle, nt.RENAME_INFORMATION, _new_name(_REPLACE, *target))
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
        _set(handle, nt.BASIC_INFORMATION, times)
    finally:
        close_handle(handle)


class _OlderWindows(OSError):
    """This Windows, or this file system, does not know the call."""


def _set(handle: int, kind: int, data: bytes) -> None:
    status = nt.set_information(handle, byref(nt.IoStatus()), data, len(data), kind)
    if status < 0:
        error = status_error(status)
        raise _OlderWindows(*error.args) if status & 0xFFFFFFFF in NOT_THERE else error


def _new_name(flags: int, root: int, name: str) -> bytes:
    """FILE_RENAME_INFORMATION and FILE_LINK_INFORMATION."""
    raw = name.encode("utf-16-le", "surrogatepass")
    head = flags.to_bytes(8, "little") + root.to_bytes(8, "little") + len(raw).to_bytes(4, "little")
    return (head + raw).ljust(24 + 2, b"\0")


def _delete(handle: int) -> None:
    try:
        flags = _DELETE | _DELETE_POSIX | _DELETE_READONLY
        _set(handle, nt.DISPOSITION_INFORMATION_EX, flags.to_bytes(4, "little"))
    except _OlderWindows:
        attributes, _ = attribute_tag(handle)
        if attributes & nt.ATTRIBUTE_READONLY:
            writable = open_handle(handle, "", nt.WRITE_ATTRIBUTES, options=nt.OPEN_REPARSE_POINT)
            try:
                plain = BASIC.pack(0, 0, 0, 0, (attributes & ~nt.ATTRIBUTE_READONLY) or 0x80)
                _set(writable, nt.BASIC_INFORMATION, plain)
            finally:
                close_handle(writable)
        _set(handle, nt.DISPOSITION_INFORMATION, b"\1")


def _is_folder(target: tuple[int, str]) -> bool:
    try:
        return _stat.S_ISDIR(status_of_name(*target).st_mode)
    except OSError:
        return False


def _name(file: PathLike) -> bytes:
    plain = _os.fspath(file)
    return name_of(plain) if isinstance(plain, str) else builtins.bytes(plain)


_ROOT: Final = Status(_stat.S_IFDIR | 0o755, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, nt.ATTRIBUTE_DIRECTORY, 0)
