"""What there is to protect on a Windows file server: volumes, the folders at their tops, and shares."""

import stat
import sys
import winreg
from collections.abc import Iterator
from typing import Final

from backstay.protocol.inventory import FolderView, Inventory, ShareView, VolumeView
from backstay.recovery_points.registry import read_mounts
from backstay.system import windows_calls as os
from backstay.system.windows_paths import text_of, windows_path

assert sys.platform == "win32"

_MOST_FOLDERS: Final = 500
_OF_THE_SYSTEM: Final = frozenset(
    (
        *("$recycle.bin", "$winreagent", "config.msi", "documents and settings", "perflogs", "recovery"),
        *("program files", "program files (x86)", "programdata", "system volume information", "windows"),
    )
)
_SHARES: Final = r"SYSTEM\CurrentControlSet\Services\LanmanServer\Shares"
_NO_DATA: Final = frozenset((b"optical",))


def take_inventory() -> Inventory:
    """Look at the volumes, at their top folders, and at what the server service shares."""
    volumes = list(_volumes())
    folders = [folder for volume in volumes for folder in _folders(volume.path)]
    return Inventory(volumes=volumes, folders=folders[:_MOST_FOLDERS], shares=list(_shares()))


def _volumes() -> Iterator[VolumeView]:
    """Volumes that hold data, each once, by the first of their places."""
    seen: set[bytes] = set()
    for mount in read_mounts().all:
        if mount.device in seen or mount.fs_type in ("", "cifs") or mount.options & _NO_DATA:
            continue
        try:
            fd = os.open(mount.point, os.O_RDONLY | os.O_DIRECTORY)
        except OSError:
            continue
        try:
            room = os.fstatvfs(fd)
        except OSError:
            continue
        finally:
            os.close(fd)
        seen.add(mount.device)
        yield VolumeView(
            path=windows_path(mount.point),
            filesystem=mount.fs_type,
            bytes=room.f_blocks * room.f_frsize,
            used=(room.f_blocks - room.f_bfree) * room.f_frsize,
        )


def _folders(volume: str) -> Iterator[FolderView]:
    try:
        with os.scandir(volume) as entries:
            names = sorted(
                entry.name
                for entry in entries
                if stat.S_ISDIR(entry.stat(follow_symlinks=False).st_mode)
                and entry.name.casefold() not in _OF_THE_SYSTEM
            )
    except OSError:
        return
    for name in names:
        yield FolderView(path=_text(volume.rstrip("\\") + "\\" + name))


def _shares() -> Iterator[ShareView]:
    """What users have shared; the administrative shares are not listed there."""
    try:
        key = winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, _SHARES)
    except OSError:
        return
    with key:
        for number in range(winreg.QueryInfoKey(key)[1]):
            name, lines, kind = winreg.EnumValue(key, number)
            if kind != winreg.REG_MULTI_SZ:
                continue
            facts = dict(line.split("=", 1) for line in lines if "=" in line)
            if facts.get("Type", "0") == "0" and facts.get("Path"):
                yield ShareView(name=_text(name), path=_text(facts["Path"]), protocol="smb")


def _text(path: str) -> str:
    """A path for people; half of a surrogate pair is lost."""
    return text_of(path.encode("utf-8", "replace"))
