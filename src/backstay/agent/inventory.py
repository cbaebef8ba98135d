"""What there is to protect on this file server: volumes, shares, and the folders at their tops."""

import configparser
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from backstay.protocol.inventory import FolderView, Inventory, ShareView, VolumeView
from backstay.recovery_points.volume import Mounts

_NO_DATA = {
    *("autofs", "binfmt_misc", "bpf", "cgroup", "cgroup2", "configfs", "debugfs", "devpts", "devtmpfs"),
    *("efivarfs", "fusectl", "hugetlbfs", "mqueue", "nsfs", "overlay", "proc", "pstore", "ramfs"),
    *("rpc_pipefs", "securityfs", "selinuxfs", "squashfs", "sysfs", "tmpfs", "tracefs"),
}
_OF_THE_SYSTEM = {
    *(
        "bin",
        "boot",
        "dev",
        "lib",
        "lib32",
        "lib64",
        "libx32",
        "lost+found",
        "proc",
        "run",
        "sbin",
        "sys",
        "tmp",
    ),
}
_MOST_FOLDERS = 500


def take_inventory() -> Inventory:
    """Look at the mounts, at their top folders, and at what Samba and NFS share."""
    if sys.platform == "win32":
        from backstay.agent import inventory_windows

        return inventory_windows.take_inventory()
    volumes = list(_volumes())
    folders = [folder for volume in volumes for folder in _folders(volume.path.encode())]
    return Inventory(volumes=volumes, folders=folders[:_MOST_FOLDERS], shares=[*_samba(), *_exports()])


def _volumes() -> Iterator[VolumeView]:
    """Mounted file systems that hold data, each once."""
    seen: set[bytes] = set()
    for mount in Mounts.read().all:
        if mount.fs_type in _NO_DATA or mount.device in seen or not os.path.isdir(mount.point):
            continue
        try:
            room = os.statvfs(mount.point)
        except OSError:
            continue
        if not room.f_blocks:
            continue
        seen.add(mount.device)
        yield VolumeView(
            path=_text(mount.point),
            filesystem=mount.fs_type,
            bytes=room.f_blocks * room.f_frsize,
            used=(room.f_blocks - room.f_bfree) * room.f_frsize,
        )


def _text(path: bytes) -> str:
    """A path for people; what is no UTF-8 in it is lost."""
    return path.decode(errors="replace")


def _folders(volume: bytes) -> Iterator[FolderView]:
    try:
        with os.scandir(volume) as entries:
            names = sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
    except OSError:
        return
    for name in names:
        if not (volume == b"/" and os.fsdecode(name) in _OF_THE_SYSTEM):
            yield FolderView(path=_text(os.path.join(volume, name)))


def _samba() -> Iterator[ShareView]:
    """The sections of smb.conf(5) that have a path."""
    reader = configparser.ConfigParser(strict=False, interpolation=None, allow_no_value=True)
    try:
        reader.read("/etc/samba/smb.conf", encoding="utf-8")
    except (configparser.Error, UnicodeDecodeError, OSError):
        return
    for name in reader.sections():
        path = reader.get(name, "path", fallback=None)
        if path and path.startswith("/") and "%" not in path:
            yield ShareView(name=name, path=path, protocol="smb")


def _exports() -> Iterator[ShareView]:
    """The lines of exports(5)."""
    try:
        lines = Path("/etc/exports").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return
    for line in lines:
        path = line.split("#")[0].split(" ")[0].split("\t")[0].strip().strip('"')
        if path.startswith("/"):
            yield ShareView(name=path, path=path, protocol="nfs")
