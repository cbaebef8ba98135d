"""What there is to protect on this file server: volumes, shares, and the folders at their tops."""

import configparser
import os
import re
from collections.abc import Iterator
from pathlib import Path

from backstay.protocol.inventory import FolderView, Inventory, ShareView, VolumeView

_NO_DATA = frozenset(
    ["autofs", "binfmt_misc", "bpf", "cgroup", "cgroup2", "configfs", "debugfs", "devpts", "devtmpfs", "efivarfs", "fusectl", "hugetlbfs", "mqueue", "nsfs", "overlay", "proc", "pstore", "ramfs", "rpc_pipefs", "securityfs", "selinuxfs", "squashfs", "sysfs", "tmpfs", "tracefs"]
)
_OF_THE_SYSTEM = frozenset(["bin", "boot", "dev", "lib", "lib32", "lib64", "libx32", "lost+found", "proc", "run", "sbin", "sys", "tmp"])
_MOST_FOLDERS = 500
_ESCAPE = re.compile(rb"\\([0-7]{3})")


def take_inventory() -> Inventory:
    """Look at the mounts, at their top folders, and at what Samba and NFS share."""
    volumes = list(_volumes())
    folders = [folder for volume in volumes for folder in _folders(os.fsencode(volume.path))]
    return Inventory(volumes=volumes, folders=folders[:_MOST_FOLDERS], shares=[*_samba(), *_exports()])


def _volumes() -> Iterator[VolumeView]:
    """Mounted file systems that hold data; proc(5) describes /proc/self/mounts."""
    seen: set[int] = set()
    try:
        lines = Path("/proc/self/mounts").read_bytes().splitlines()
    except OSError:
        return
    for line in lines:
        fields = line.split(b" ")
        path = _ESCAPE.sub(lambda match: bytes([int(match[1], 8)]), fields[1])
        kind = fields[2].decode("ascii", "replace")
        if kind in _NO_DATA or not os.path.isdir(path):
            continue
        try:
            room, device = os.statvfs(path), os.stat(path).st_dev
        except OSError:
            continue
        if device in seen or not room.f_blocks:
            continue
        seen.add(device)
        total = room.f_blocks * room.f_frsize
        yield VolumeView(
            path=os.fsdecode(path).encode("utf-8", "replace").decode(),
            filesystem=kind,
            bytes=total,
            used=total - room.f_bfree * room.f_frsize,
        )


def _folders(volume: bytes) -> Iterator[FolderView]:
    try:
        with os.scandir(volume) as entries:
            names = sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
    except OSError:
        return
    for name in names:
        text = os.fsdecode(os.path.join(volume, name)).encode("utf-8", "replace").decode()
        if not (volume == b"/" and os.fsdecode(name) in _OF_THE_SYSTEM):
            yield FolderView(path=text)


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
