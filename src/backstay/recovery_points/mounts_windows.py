"""The volumes of a Windows machine and the places where they are mounted, as the engine sees mounts."""

import ctypes
import sys
from ctypes import wintypes
from typing import Final, Self

from backstay.recovery_points.volume import Mount, Mounts
from backstay.system.windows_calls import path as paths
from backstay.system.windows_paths import from_windows, name_of

assert sys.platform == "win32"

_kernel: Final = ctypes.WinDLL("kernel32", use_last_error=True)
_kernel.FindFirstVolumeW.restype = wintypes.HANDLE
_kernel.FindNextVolumeW.argtypes = (wintypes.HANDLE, wintypes.LPWSTR, wintypes.DWORD)
_kernel.FindVolumeClose.argtypes = (wintypes.HANDLE,)
_INVALID: Final = wintypes.HANDLE(-1).value
_REMOTE: Final = 4
_KINDS: Final = {2: b"removable", 3: b"fixed", 5: b"optical", 6: b"memory"}
_READ_ONLY: Final = 0x00080000
_ROOM: Final = 32768


class WindowsMounts(Mounts):
    """As Mounts. `device` and `source` name the volume, as `Volume{…}`; `options` has the kind of drive."""

    def __init__(self, mounts: list[Mount]) -> None:
        super().__init__(b"")
        self.all = mounts

    @classmethod
    def read(cls) -> Self:
        """As they are now: FindFirstVolume, GetVolumePathNamesForVolumeName."""
        found: list[Mount] = []
        for volume in _volumes():
            kind, file_system, is_read_only = _facts_of(volume)
            for place in _places_of(volume):
                found.append(_mount(len(found), volume, place, kind, file_system, is_read_only=is_read_only))
        known = {mount.point for mount in found}
        for drive in _drives():
            if from_windows(drive) not in known:
                kind, file_system, is_read_only = _facts_of(drive)
                found.append(_mount(len(found), drive, drive, kind, file_system, is_read_only=is_read_only))
        return cls(found)

    def holding(self, path: bytes) -> Mount | None:
        """The mount that holds `path`, which leads through no links; None where it is gone."""
        if not paths.lexists(path):
            return None
        wanted = path.lower().rstrip(b"/") + b"/"
        holders = [mount for mount in self.all if wanted.startswith(mount.point.lower().rstrip(b"/") + b"/")]
        if holders:
            return max(holders, key=lambda mount: len(mount.point))
        return Mount(
            -1, b"", b"/", b"/", frozenset(), "cifs" if wanted.startswith(b"/unc/") else "", b"", frozenset()
        )

    def below(self, path: bytes) -> list[Mount]:
        """The mounts strictly below the folder `path`, outer ones first."""
        start = path.lower().rstrip(b"/") + b"/"
        found = [mount for mount in self.all if mount.point.lower().startswith(start)]
        return sorted(found, key=lambda mount: len(mount.point))


def _mount(number: int, volume: str, place: str, kind: int, file_system: str, *, is_read_only: bool) -> Mount:
    source = name_of(volume.removeprefix("\\\\?\\").rstrip("\\"))
    name = "cifs" if kind == _REMOTE else file_system
    how = frozenset((b"ro",)) if is_read_only else frozenset[bytes]()
    options = frozenset((_KINDS.get(kind, b"other"),))
    return Mount(number, source, b"/", from_windows(place), options, name, source, how)


def _volumes() -> list[str]:
    r"""The names of all volumes, as `\\?\Volume{…}\`."""
    name = ctypes.create_unicode_buffer(_ROOM)
    search = _kernel.FindFirstVolumeW(name, _ROOM)
    if search == _INVALID:
        return []
    found = [name.value]
    while _kernel.FindNextVolumeW(search, name, _ROOM):
        found.append(name.value)
    _kernel.FindVolumeClose(search)
    return found


def _places_of(volume: str) -> list[str]:
    room, length = ctypes.create_unicode_buffer(_ROOM), wintypes.DWORD()
    if not _kernel.GetVolumePathNamesForVolumeNameW(volume, room, _ROOM, ctypes.byref(length)):
        return []
    return [place for place in "".join(room[: length.value]).split("\0") if place]


def _drives() -> list[str]:
    bits = _kernel.GetLogicalDrives()
    return [f"{chr(65 + number)}:\\" for number in range(26) if bits >> number & 1]


def _facts_of(root: str) -> tuple[int, str, bool]:
    """The kind of drive, the file system's name, and whether it is read-only."""
    name, flags = ctypes.create_unicode_buffer(64), wintypes.DWORD()
    _kernel.GetVolumeInformationW(root, None, 0, None, None, ctypes.byref(flags), name, 64)
    return _kernel.GetDriveTypeW(root), name.value, bool(flags.value & _READ_ONLY)
