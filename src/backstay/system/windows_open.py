"""Opening files on Windows below open folders, with the flags of open(2).

A descriptor is one of the C library's, over a handle of the kernel's, so `os.fsync` and `os.dup` are Python's
own. Everything is opened for sharing, so that a backup keeps nobody from working, and with the intent of a
backup, which reads what an access list forbids where the process holds SeBackupPrivilege.

What a name leads to:
- a symbolic link or junction: refused with O_NOFOLLOW, as ELOOP;
- a volume mounted in a folder: entered, as a mount point is on Linux, or what `show_volume` put in its place;
- any other reparse point (deduplicated, compressed, in the cloud): opened through its filter driver.
"""

import errno
import msvcrt
import os
import stat
import sys
from ctypes import addressof, byref, c_uint32, create_string_buffer, sizeof
from ctypes.wintypes import HANDLE
from typing import Final

from backstay.system import nt_api as nt
from backstay.system import nt_stat
from backstay.system.nt_stat import Status
from backstay.system.nt_status import BUFFER_OVERFLOW, NOT_THERE, status_error
from backstay.system.privileges_windows import enable_privileges
from backstay.system.reparse import mounted_volume
from backstay.system.windows_paths import absolute, name_of, nt_path, text_of

assert sys.platform == "win32"

O_RDONLY, O_WRONLY, O_RDWR, O_CREAT = os.O_RDONLY, os.O_WRONLY, os.O_RDWR, os.O_CREAT
O_EXCL, O_TRUNC, O_APPEND = os.O_EXCL, os.O_TRUNC, os.O_APPEND
O_DIRECTORY, O_NOFOLLOW, O_PATH = 1 << 24, 1 << 25, 1 << 26
O_CLOEXEC = O_NONBLOCK = O_NOATIME = 0
"""No handle is ever inherited, no open waits, and backups leave access times alone by themselves."""

PathLike = str | bytes | os.PathLike[str] | os.PathLike[bytes]

_ENCRYPTED: Final = 0x4000
_ELSEWHERE: Final = 0x1000 | 0x40000 | 0x400000
"""FILE_ATTRIBUTE_OFFLINE, RECALL_ON_OPEN, RECALL_ON_DATA_ACCESS: to read it would fetch it from there."""
_MOST_REPARSE: Final = 16 << 10
_roots: Final[set[int]] = set()
_volumes: Final[dict[str, bytes]] = {}
_views: Final[dict[bytes, bytes]] = {}
_without_by_name: Final[list[bool]] = []


missing_privileges: Final = enable_privileges()
"""Whoever opens files by this module backs up or restores, and needs them for all that it does."""


def show_volume(volume: str, place: bytes | None) -> None:
    """Whoever enters a folder on which `volume` is mounted gets `place` instead; None: the volume again."""
    _volumes.pop(volume.casefold(), None)
    if place is not None:
        _volumes[volume.casefold()] = place


def show_view(name: bytes, place: bytes | None) -> None:
    """The engine's path `/name` leads to `place` from now on; None: to nothing again."""
    _views.pop(name, None)
    if place is not None:
        _views[name] = place


def place_of(path: PathLike) -> bytes:
    """The absolute engine path, views resolved."""
    plain = os.fspath(path)
    raw = name_of(plain) if isinstance(plain, str) else plain
    found = (
        raw if raw.startswith(b"/") and raw.lstrip(b"/").partition(b"/")[0] in _views else absolute_here(raw)
    )
    first, slash, rest = found.lstrip(b"/").partition(b"/")
    view = _views.get(first)
    # A view may lie in another one: a folder of a recovery point.
    return found if view is None else place_of(view + slash + rest)


def absolute_here(path: bytes) -> bytes:
    """The engine's path of what a user wrote, seen from the current folder."""
    return absolute(path, absolute(name_of(os.getcwd())))


def raw_handle(fd: int) -> int:
    """The kernel's handle of a descriptor."""
    return msvcrt.get_osfhandle(fd)


def is_root(fd: int | None) -> bool:
    """Whether the descriptor stands for `/`, the folder of all drives."""
    return fd in _roots


def target_of(path: PathLike, dir_fd: int | None) -> tuple[int, str]:
    """Where the kernel starts, and the name from there. Raises OSError where it can be no name."""
    if dir_fd is None:
        place = place_of(path)
        if place == b"/":
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), "/")
        return 0, nt_path(place)
    plain = os.fspath(path)
    name = name_of(plain) if isinstance(plain, str) else plain
    if dir_fd in _roots:
        return 0, nt_path(b"/" + name)
    if b"\\" in name or b":" in name or not name:
        raise OSError(errno.EINVAL, "not a name on Windows", name)
    try:
        return raw_handle(dir_fd), text_of(name).replace("/", "\\")
    except UnicodeDecodeError:
        raise OSError(errno.EINVAL, "not a name on Windows", name) from None


def open_handle(root: int, name: str, access: int, disposition: int = nt.OPEN, options: int = 0) -> int:
    """A handle; SYNCHRONIZE and synchronous access come by themselves. Raises OSError."""
    attributes, handle, answer = nt.named(root, name), HANDLE(), nt.IoStatus()
    status = nt.create_file(
        byref(handle),
        access | nt.SYNCHRONIZE,
        byref(attributes),
        byref(answer),
        None,
        0x80,
        nt.SHARE_ALL,
        disposition,
        options | nt.SYNCHRONOUS | nt.OPEN_FOR_BACKUP,
        None,
        0,
    )
    if status < 0:
        raise status_error(status, name)
    return handle.value or 0


def close_handle(handle: int) -> None:
    """Give a handle back."""
    nt.close(handle)


def open(path: PathLike, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
    """As os.open; see the module for what a name leads to. Raises OSError."""
    if dir_fd is None and place_of(path) == b"/":
        fd = os.open(os.devnull, os.O_RDONLY | os.O_NOINHERIT)
        _roots.add(fd)
        return fd
    root, name = target_of(path, dir_fd)
    handle = _open(root, name, flags)
    try:
        return msvcrt.open_osfhandle(handle, os.O_BINARY | os.O_NOINHERIT | (flags & (O_WRONLY | O_RDWR)))
    except OSError:
        close_handle(handle)
        raise


def close(fd: int) -> None:
    """As os.close."""
    _roots.discard(fd)
    os.close(fd)


def dup(fd: int) -> int:
    """As os.dup."""
    copy = os.dup(fd)
    if fd in _roots:
        _roots.add(copy)
    return copy


def _open(root: int, name: str, flags: int) -> int:
    access = nt.READ_ATTRIBUTES if flags & O_PATH else nt.GENERIC_READ
    if flags & (O_WRONLY | O_RDWR):
        # No right to delete: who opens it without sharing that, as most programs do, would be refused.
        access = nt.GENERIC_READ | nt.GENERIC_WRITE
    options = nt.DIRECTORY_FILE if flags & O_DIRECTORY else 0
    if flags & O_NOFOLLOW:
        options |= nt.OPEN_REPARSE_POINT
    disposition = nt.OPEN
    if flags & O_CREAT:
        disposition = nt.CREATE if flags & O_EXCL else nt.OVERWRITE_IF if flags & O_TRUNC else nt.OPEN_IF
    elif flags & O_TRUNC:
        disposition = nt.OVERWRITE
    try:
        handle = open_handle(root, name, access, disposition, options)
    except PermissionError as error:
        if _is_encrypted(root, name):
            raise OSError("it is encrypted (EFS) for others than the agent") from error
        raise
    if not flags & O_NOFOLLOW or flags & O_CREAT:
        return handle
    try:
        attributes, tag = attribute_tag(handle)
        if attributes & _ELSEWHERE and not flags & (O_DIRECTORY | O_WRONLY | O_RDWR):
            raise OSError("its content is in a cloud or an archive, not on this machine")
        if not attributes & nt.ATTRIBUTE_REPARSE or nt_stat.mode_of(attributes, tag) & 0o170000 in (
            stat.S_IFSOCK,
            stat.S_IFIFO,
        ):
            return handle
        if nt_stat.is_link(tag):
            volume = mounted_volume(read_reparse(handle)) if tag == nt_stat.MOUNT_POINT else ""
            if not volume:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), name)
            if (shown := _volumes.get(volume.casefold())) is not None:
                root, name = 0, nt_path(place_of(shown))
        through = open_handle(root, name, access, disposition, options & ~nt.OPEN_REPARSE_POINT)
    except OSError:
        close_handle(handle)
        raise
    close_handle(handle)
    return through


def _is_encrypted(root: int, name: str) -> bool:
    try:
        handle = open_handle(root, name, nt.READ_ATTRIBUTES, options=nt.OPEN_REPARSE_POINT)
        try:
            return bool(attribute_tag(handle)[0] & _ENCRYPTED)
        finally:
            close_handle(handle)
    except OSError:
        return False


def attribute_tag(handle: int) -> tuple[int, int]:
    """File attributes, and the kind of reparse point where it is one. Raises OSError."""
    pair = (c_uint32 * 2)()
    status = nt.query_information(
        handle, byref(nt.IoStatus()), pair, sizeof(pair), nt.ATTRIBUTE_TAG_INFORMATION
    )
    if status < 0:
        raise status_error(status)
    return pair[0], pair[1]


def read_reparse(handle: int) -> bytes:
    """The REPARSE_DATA_BUFFER of an open reparse point. Raises OSError."""
    return device_control(handle, nt.GET_REPARSE_POINT, b"", _MOST_REPARSE)


def device_control(handle: int, code: int, data: bytes = b"", room: int = 0) -> bytes:
    """Ask the file system for something of its own; what does not fit into `room` is cut. Raises OSError."""
    answer, out = nt.IoStatus(), create_string_buffer(room) if room else None
    status = nt.control(handle, None, None, None, byref(answer), code, data or None, len(data), out, room)
    if status < 0 and status & 0xFFFFFFFF != BUFFER_OVERFLOW:
        raise status_error(status)
    return out.raw[: answer.information] if out is not None else b""


class OlderWindows(OSError):
    """This Windows, or this file system, does not know the call."""


def set_information(handle: int, kind: int, data: bytes) -> None:
    """Change what the kernel keeps of an open file: NtSetInformationFile. Raises OSError, OlderWindows."""
    status = nt.set_information(handle, byref(nt.IoStatus()), data, len(data), kind)
    if status < 0:
        error = status_error(status)
        raise OlderWindows(*error.args) if status & 0xFFFFFFFF in NOT_THERE else error


def status_of_handle(handle: int) -> Status:
    """What fstat tells. Raises OSError."""
    room, answer = create_string_buffer(nt_stat.ALL.size + 64), nt.IoStatus()
    status = nt.query_information(handle, byref(answer), room, len(room), nt.ALL_INFORMATION)
    if status < 0 and status & 0xFFFFFFFF != BUFFER_OVERFLOW:
        raise status_error(status)
    created, accessed, written, changed, attributes, allocated, end, links, _, _, inode = (
        nt_stat.ALL.unpack_from(room)
    )
    tag = attribute_tag(handle)[1] if attributes & nt.ATTRIBUTE_REPARSE else 0
    return nt_stat.status_of(
        (created, accessed, written, changed),
        (allocated, end),
        attributes,
        tag,
        links,
        inode,
        _device(handle),
    )


def status_of_name(root: int, name: str, device: int = -1) -> Status:
    """What lstat tells of a name; what is mounted in a folder counts instead of the folder.

    Args:
        device: of the folder where it is known; saves opening the file. Raises OSError.
    """
    if device >= 0 and nt.query_by_name is not None and not _without_by_name:
        found = _by_name(root, name, device)
        if found is not None and found.st_reparse_tag != nt_stat.MOUNT_POINT:
            return found
    handle = open_handle(root, name, nt.READ_ATTRIBUTES, options=nt.OPEN_REPARSE_POINT)
    try:
        found = status_of_handle(handle)
        if found.st_reparse_tag != nt_stat.MOUNT_POINT:
            return found
        volume = mounted_volume(read_reparse(handle))
    finally:
        close_handle(handle)
    if not volume:
        return found
    shown = _volumes.get(volume.casefold())
    if shown is not None:
        root, name = 0, nt_path(place_of(shown))
    try:
        top = open_handle(root, name, nt.READ_ATTRIBUTES)
    except OSError:
        # Nothing is in the drive: the folder is an empty one.
        return found._replace(st_mode=stat.S_IFDIR | 0o755)
    try:
        return status_of_handle(top)
    finally:
        close_handle(top)


def _by_name(root: int, name: str, device: int) -> Status | None:
    assert nt.query_by_name is not None
    room = create_string_buffer(nt_stat.STAT.size)
    attributes = nt.named(root, name)
    status = nt.query_by_name(byref(attributes), byref(nt.IoStatus()), room, len(room), nt.STAT_INFORMATION)
    if status < 0:
        # A name alone is not asked for with the rights of a backup: opening decides.
        if status & 0xFFFFFFFF in NOT_THERE:
            _without_by_name.append(True)
        return None
    inode, created, accessed, written, changed, allocated, end, bits, tag, links = nt_stat.STAT.unpack(room)
    return nt_stat.status_of(
        (created, accessed, written, changed), (allocated, end), bits, tag, links, inode, device
    )


def _device(handle: int) -> int:
    """The volume's serial number: FILE_FS_VOLUME_INFORMATION."""
    room = create_string_buffer(24 + 512)
    status = nt.query_volume(handle, byref(nt.IoStatus()), room, len(room), nt.FS_VOLUME_INFORMATION)
    if status < 0 and status & 0xFFFFFFFF != BUFFER_OVERFLOW:
        return 0
    return c_uint32.from_address(addressof(room) + 8).value
