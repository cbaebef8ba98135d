"""LVM: a snapshot of the logical volume, mounted read-only.

Written from lvcreate(8), lvremove(8), lvs(8), lvmthin(7), ext4(5) and xfs(5) alone: it has not met a real
volume group. LVM suspends the origin while it makes a snapshot, which freezes the file system on it
(ioctl_fifreeze(2)), so a snapshot needs no journal replay and holds all that was written.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from backstay.domain.errors import SourceError
from backstay.domain.size import format_size
from backstay.recovery_points.command import Answer, Run, ask, reason, run_command
from backstay.recovery_points.provider import Provider, RecoveryPoint
from backstay.recovery_points.volume import Mount, Volume
from backstay.recovery_points.workspace import Workspace

_OPTIONS = {"ext3": "noload", "ext4": "noload", "xfs": "nouuid"}
_SYS = Path("/sys/dev/block")
_SHARE = 5
"""A snapshot may take up as many changes as a fifth of the origin …"""
_LEAST_SHARE = 50
"""… and is not worth making with room for less than a fiftieth."""
_LEAST = 64 << 20
_ATTEMPTS = 6


class _Origin(NamedTuple):
    group: str
    name: str
    pool: str
    size: int
    free: int


class Lvm(Provider):
    """Freezes file systems on logical volumes.

    Args:
        run: runs LVM's commands.
        sys: where the kernel describes block devices.
        pause: waits for so many seconds.
    """

    name = "lvm"

    def __init__(
        self, run: Run = run_command, sys: Path = _SYS, pause: Callable[[float], None] = time.sleep
    ) -> None:
        self._run = run
        self._sys = sys
        self._pause = pause

    def claims(self, mount: Mount) -> bool:
        """ext2 to ext4 and xfs on a device that LVM made, by what the kernel says of it."""
        if mount.fs_type not in ("ext2", *_OPTIONS) or mount.is_read_only:
            return False
        return self._device_mapper(mount, "uuid").startswith("LVM-")

    def plan(self, volume: Volume, name: str, workspace: Workspace) -> RecoveryPoint:
        """A snapshot in the volume group of the origin."""
        origin = self._origin(volume.mount)
        words = f"the logical volume {origin.group}/{origin.name}"
        return RecoveryPoint(
            self.name, name, words, workspace.folder(name), {"group": os.fsencode(origin.group)}
        )

    def take(self, point: RecoveryPoint, volume: Volume, workspace: Workspace) -> None:
        """Make the snapshot, with room for changes where it is not a thin one, and mount it."""
        origin = self._origin(volume.mount)
        command = ["lvcreate", "--yes", "--snapshot", "--name", point.name, "--addtag", "backstay"]
        if origin.pool:
            # Thin snapshots are not activated unless one asks for it: lvmthin(7).
            command += ["--setactivationskip", "n", "--activate", "y"]
        else:
            command += ["--size", f"{_room(origin)}b"]
        answer = ask(self._run, [*command, f"{origin.group}/{origin.name}"])
        if answer.code != 0:
            raise SourceError(
                f"no snapshot of {point.volume} could be made: {reason(answer)}",
                hint="see that its volume group has free space (vgs)",
            )
        device = f"/dev/{origin.group}/{point.name}"
        mount = volume.mount
        workspace.mount(
            os.fsencode(device), point.name, mount.fs_type, _OPTIONS.get(mount.fs_type, ""), read_only=True
        )

    def release(self, point: RecoveryPoint, workspace: Workspace) -> None:
        """Unmount the snapshot and remove it; udev may hold on to it for a moment."""
        workspace.unmount(point.name)
        name = f"{os.fsdecode(point.identity['group'])}/{point.name}"
        answer = Answer(0, "", "")
        for attempt in range(_ATTEMPTS):
            if attempt:
                self._pause(0.5)
            answer = ask(self._run, ["lvremove", "--yes", name])
            if answer.code == 0 or _is_gone(answer):
                return
        raise SourceError(f"the snapshot {name} of {point.volume} could not be removed: {reason(answer)}")

    def _origin(self, mount: Mount) -> _Origin:
        device = "/dev/mapper/" + self._device_mapper(mount, "name")
        columns = "vg_name,lv_name,pool_lv,lv_size,vg_free"
        answer = ask(
            self._run,
            ["lvs", "--noheadings", "--nosuffix", "--units", "b", "--separator", "|", "-o", columns, device],
        )
        if answer.code != 0:
            raise SourceError(f"LVM does not know {device}: {reason(answer)}")
        try:
            group, name, pool, size, free = (field.strip() for field in answer.output.strip().split("|"))
            return _Origin(group, name, pool, int(size), int(free))
        except ValueError as error:
            raise SourceError(f"the answer of lvs for {device} is not understood") from error

    def _device_mapper(self, mount: Mount, what: str) -> str:
        try:
            return (self._sys / mount.device.decode() / "dm" / what).read_text().strip()
        except OSError:
            return ""


def _room(origin: _Origin) -> int:
    """Bytes of changes that a snapshot can take before it breaks."""
    least = max(origin.size // _LEAST_SHARE, _LEAST)
    if origin.free < least:
        raise SourceError(
            f"the volume group {origin.group} has {format_size(origin.free)} free; "
            f"a snapshot of {origin.name} needs {format_size(least)}",
            hint=f"leave {format_size(origin.size // _SHARE)} of the volume group free (vgs, vgextend)",
        )
    return min(max(origin.size // _SHARE, _LEAST), origin.free)


def _is_gone(answer: Answer) -> bool:
    # A volume group that is not there is another matter: its disks may come back.
    return "Failed to find logical volume" in answer.complaint
