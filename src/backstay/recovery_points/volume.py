"""Which mount holds a path: proc_pid_mountinfo(5), read once for a backup."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Self

from backstay.system.calls import os

_MOUNTINFO = Path("/proc/self/mountinfo")
_ESCAPE = re.compile(rb"\\([0-7]{3})")


class Mount(NamedTuple):
    """One line of /proc/self/mountinfo.

    Attributes:
        id: unique while the mount exists.
        device: major:minor of the file system; files of btrfs and ZFS show other numbers.
        root: the folder of the file system that is seen at `point`.
        point: where it is mounted.
        options: of this mount.
        fs_type: as `ext4`.
        source: usually the device; for ZFS the dataset.
        super_options: of the file system, whatever mount it is reached by.
    """

    id: int
    device: bytes
    root: bytes
    point: bytes
    options: frozenset[bytes]
    fs_type: str
    source: bytes
    super_options: frozenset[bytes]

    @property
    def is_read_only(self) -> bool:
        """Whether the file system itself is mounted read-only: no mount of it can be written."""
        return b"ro" in self.super_options

    def inner(self, path: bytes) -> bytes:
        """The path below the file system's root, without leading slash, of the live `path` below `point`."""
        below = path[len(self.point) :] if self.point != b"/" else path
        return (self.root.rstrip(b"/") + b"/" + below.strip(b"/")).strip(b"/")


@dataclass(frozen=True)
class Volume:
    """What is frozen as one: a file system, a btrfs subvolume, a ZFS dataset; and one place where it is seen.

    Attributes:
        mount: by which it is seen.
        place: a live folder in it.
        inner: path of `place` below the volume's root; empty where it is the root.
        key: equal for all places of one volume.
        inode: of `place`, to recognise it in the frozen view.
    """

    mount: Mount
    place: bytes
    inner: bytes
    key: tuple[str | bytes | int, ...] = field(compare=False)
    inode: int = 0


class Mounts:
    """The mounts that this process sees.

    Args:
        text: of mountinfo.
    """

    def __init__(self, text: bytes) -> None:
        self.all = [_parse(line) for line in text.splitlines() if line]
        self._by_id = {mount.id: mount for mount in self.all}

    @classmethod
    def read(cls) -> Self:
        """As they are now."""
        return cls(_MOUNTINFO.read_bytes())

    def holding(self, path: bytes) -> Mount | None:
        """The mount by which `path` itself, not what a link leads to, is reached; None where it is gone.

        The kernel says which (proc_pid_fdinfo(5)): a path alone does not tell where mounts cover each other.
        """
        try:
            fd = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            info = Path(f"/proc/self/fdinfo/{fd}").read_bytes()
        finally:
            os.close(fd)
        _, _, rest = info.partition(b"mnt_id:")
        return self._by_id.get(int(rest.split(None, 1)[0])) if rest else None

    def below(self, path: bytes) -> list[Mount]:
        """The mounts that are visible strictly below the folder `path`, outer ones first."""
        start = path.rstrip(b"/") + b"/"
        found = [mount for mount in self.all if mount.point.startswith(start) and mount.point != start]
        visible = [mount for mount in found if self.holding(mount.point) is mount]
        return sorted(visible, key=lambda mount: len(mount.point))


def real_place(path: bytes) -> bytes:
    """The path with all links resolved but the last component, which may be a link that is meant itself."""
    folder, name = os.path.split(path)
    return os.path.join(os.path.realpath(folder), name) if name else os.path.realpath(folder)


def _parse(line: bytes) -> Mount:
    fixed, _, rest = line.partition(b" - ")
    number, _parent, device, root, point, options, *_ = fixed.split(b" ")
    fs_type, source, super_options = [*rest.split(b" "), b"", b""][:3]
    return Mount(
        int(number),
        device,
        _decode(root),
        _decode(point),
        frozenset(options.split(b",")),
        fs_type.decode("ascii", "replace"),
        _decode(source),
        frozenset(super_options.split(b",")),
    )


def _decode(escaped: bytes) -> bytes:
    """Space, tab, newline and backslash are written as octal numbers."""
    return _ESCAPE.sub(lambda match: bytes([int(match[1], 8) & 0xFF]), escaped)
