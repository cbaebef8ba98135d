"""ZFS: a snapshot of the dataset, read below `.zfs/snapshot`.

Written from zfs-snapshot(8), zfs-destroy(8) and zfsprops(7) alone: it has not met a real pool. The kernel
mounts a snapshot when somebody enters `.zfs/snapshot/NAME` at the dataset's mount point, whether or not
`snapdir` makes that folder visible.
"""

import os
import time
from collections.abc import Callable

from backstay.domain.errors import SourceError
from backstay.recovery_points.command import Answer, Run, ask, reason, run_command
from backstay.recovery_points.provider import Provider, RecoveryPoint
from backstay.recovery_points.volume import Mount, Mounts, Volume
from backstay.recovery_points.workspace import Workspace

_ATTEMPTS = 6
_GONE = ("could not find any snapshots to destroy", "dataset does not exist")


class Zfs(Provider):
    """Freezes datasets.

    Args:
        run: runs the command `zfs`.
        pause: waits for so many seconds.
    """

    name = "zfs"

    def __init__(self, run: Run = run_command, pause: Callable[[float], None] = time.sleep) -> None:
        self._run = run
        self._pause = pause

    def claims(self, mount: Mount) -> bool:
        """Any dataset; what is a snapshot already is frozen."""
        return mount.fs_type == "zfs" and b"@" not in mount.source and not mount.is_read_only

    def volumes(self, mount: Mount, place: bytes, mounts: Mounts, *, nested: bool) -> list[Volume]:
        """The dataset: those below it are mounts of their own. `.zfs` is where its root is mounted."""
        whole = [other for other in mounts.all if other.source == mount.source and other.root == b"/"]
        visible = [other for other in whole if mounts.holding(other.point) is other]
        if not visible:
            raise SourceError(
                f"the dataset {os.fsdecode(mount.source)} is mounted only in part, without its snapshots"
            )
        at = mount if mount in visible else visible[0]
        inode = os.stat(place).st_ino
        return [Volume(at, place, mount.inner(place), (self.name, mount.source), inode)]

    def plan(self, volume: Volume, name: str, workspace: Workspace) -> RecoveryPoint:
        """The snapshot `dataset@name`."""
        dataset = volume.mount.source
        view = os.path.join(volume.mount.point, b".zfs/snapshot", name.encode())
        return RecoveryPoint(
            self.name, name, f"the dataset {os.fsdecode(dataset)}", view, {"dataset": dataset}
        )

    def take(self, point: RecoveryPoint, volume: Volume, workspace: Workspace) -> None:
        """Make the snapshot of this dataset alone."""
        answer = ask(self._run, ["zfs", "snapshot", _name(point)])
        if answer.code != 0:
            raise SourceError(f"no snapshot of {point.volume} could be made: {reason(answer)}")

    def release(self, point: RecoveryPoint, workspace: Workspace) -> None:
        """Destroy the snapshot; it can be busy for a moment after it was read."""
        answer = Answer(0, "", "")
        for attempt in range(_ATTEMPTS):
            if attempt:
                self._pause(0.5)
            answer = ask(self._run, ["zfs", "destroy", _name(point)])
            if answer.code == 0 or any(words in answer.complaint for words in _GONE):
                return
        raise SourceError(
            f"the snapshot {_name(point)} could not be destroyed: {reason(answer)}",
            hint="see who holds it: zfs holds, or a process that reads in it",
        )


def _name(point: RecoveryPoint) -> str:
    return f"{os.fsdecode(point.identity['dataset'])}@{point.name}"
