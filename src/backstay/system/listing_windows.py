"""What `windows_calls` has of the module `os` for what is in a folder."""

import sys
from collections.abc import Iterator
from ctypes import byref, create_string_buffer, windll
from typing import Final

from backstay.system import nt_api as nt
from backstay.system.nt_stat import Status
from backstay.system.nt_status import NO_MORE_FILES, NO_SUCH_FILE, status_error
from backstay.system.windows_open import (
    O_DIRECTORY,
    O_RDONLY,
    PathLike,
    close,
    close_handle,
    is_root,
    open,
    open_handle,
    raw_handle,
    status_of_handle,
    status_of_name,
)
from backstay.system.windows_paths import name_of, nt_path

assert sys.platform == "win32"

_LISTING: Final = 64 << 10


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
