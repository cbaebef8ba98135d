"""btrfs: a read-only snapshot of each subvolume.

Snapshots are made in a folder `.backstay` at the top of the file system, which is
reached by a private mount of its own (`subvolid=5`, btrfs(5)), and so in most layouts
lies outside of everything that users see. It works whatever part of the file system is
mounted, by whatever path, and through read-only mounts; and the modification time of no
folder of the user's changes with each backup, which making snapshots beside the source
would do.
"""

import errno
import os
import uuid
from contextlib import suppress
from pathlib import Path

from backstay.domain.errors import SourceError
from backstay.recovery_points import btrfs_ioctl
from backstay.recovery_points.provider import Provider, RecoveryPoint
from backstay.recovery_points.volume import Mount, Mounts, Volume
from backstay.recovery_points.workspace import Workspace

SNAPSHOTS = b".backstay"
"""The folder at the top of a btrfs file system; it stays: making it anew would change its parent's times."""

_SYS = Path("/sys/fs/btrfs")
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Btrfs(Provider):
    """Freezes subvolumes."""

    name = "btrfs"

    def claims(self, mount: Mount) -> bool:
        """Any btrfs that can be written: on one that is read-only nothing can be made, nor does it change."""
        return mount.fs_type == "btrfs" and not mount.is_read_only

    def volumes(self, mount: Mount, place: bytes, mounts: Mounts, *, nested: bool) -> list[Volume]:
        """The subvolume that holds `place`, and those nested below it that no other mount covers."""
        try:
            return self._volumes(mount, place, mounts, nested)
        except OSError as error:
            raise SourceError(
                f"the subvolumes at {os.fsdecode(place)!r} cannot be told: {(error.strerror or '').lower()}"
            ) from error

    def _volumes(self, mount: Mount, place: bytes, mounts: Mounts, nested: bool) -> list[Volume]:
        found: list[Volume] = []
        waiting = [place]
        while waiting:
            here = waiting.pop()
            fd = os.open(here, _FOLDER)
            try:
                inode = os.fstat(fd).st_ino
                tree, inner = btrfs_ioctl.subvolume_of(fd)
                found.append(Volume(mount, here, inner, (self.name, mount.device, tree), inode))
                below = btrfs_ioctl.nested_in(fd) if nested else []
            finally:
                os.close(fd)
            if tree == btrfs_ioctl.TOP and not inner:
                below = [child for child in below if not child.path.startswith(SNAPSHOTS + b"/")]
            paths = (os.path.join(here, child.path) for child in below)
            waiting += [path for path in paths if mounts.holding(path) is mount]
        return found

    def plan(self, volume: Volume, name: str, workspace: Workspace) -> RecoveryPoint:
        """A snapshot called `name`."""
        fd = os.open(volume.place, _FOLDER)
        try:
            fsid = btrfs_ioctl.filesystem_id(fd)
        finally:
            os.close(fd)
        view = os.path.join(workspace.folder(_top_name(fsid)), SNAPSHOTS, name.encode())
        return RecoveryPoint(self.name, name, _in_words(volume), view, {"filesystem": fsid})

    def take(self, point: RecoveryPoint, volume: Volume, workspace: Workspace) -> None:
        """Make the snapshot; btrfs writes back what is dirty first, so it holds all that was written."""
        top = self._top(point, workspace, volume.mount)
        whole = volume.mount.inner(volume.place)
        subvolume = whole[: len(whole) - len(volume.inner)].rstrip(b"/")
        try:
            folder = os.path.join(top, SNAPSHOTS)
            with suppress(FileExistsError):
                os.mkdir(folder, 0o700)
            into = os.open(folder, _FOLDER)
            try:
                source = os.open(os.path.join(top, subvolume), _FOLDER)
                try:
                    btrfs_ioctl.snapshot(source, into, point.name.encode())
                finally:
                    os.close(source)
            finally:
                os.close(into)
        except OSError as error:
            raise SourceError(
                f"no snapshot of {point.volume} could be made: {(error.strerror or '').lower()}"
            ) from error

    def release(self, point: RecoveryPoint, workspace: Workspace) -> None:
        """Delete the snapshot; its space comes back little by little."""
        top = self._top(point, workspace, None)
        try:
            folder = os.open(os.path.join(top, SNAPSHOTS), _FOLDER)
            try:
                btrfs_ioctl.destroy(folder, point.name.encode())
            finally:
                os.close(folder)
        except OSError as error:
            if error.errno != errno.ENOENT:
                raise SourceError(
                    f"the snapshot {point.name} of {point.volume} could not be deleted: "
                    f"{(error.strerror or '').lower()}"
                ) from error

    def _top(self, point: RecoveryPoint, workspace: Workspace, mount: Mount | None) -> bytes:
        """The top of the file system, mounted in the workspace."""
        fsid = point.identity["filesystem"]
        name = _top_name(fsid)
        if workspace.is_mounted(name):
            return workspace.folder(name)
        named = mount.source if mount is not None else b""
        source = named if Path(os.fsdecode(named)).is_block_device() else _device_of(fsid)
        if source is None:
            raise SourceError(
                f"{point.volume} is not there now, so its snapshot {point.name} waits to be deleted",
                hint="the first backup after it has been mounted again deletes it",
            )
        return workspace.mount(source, name, "btrfs", "subvolid=5", read_only=False)


def hidden_folder(mount: Mount) -> bytes | None:
    """The live path of the folder of snapshots, if this mount shows it, and nothing else is in it.

    It may still have to be made.
    """
    if mount.fs_type != "btrfs" or mount.root != b"/":
        return None
    folder = os.path.join(mount.point, SNAPSHOTS)
    try:
        with os.scandir(folder) as entries:
            ours = all(entry.name.startswith(b"backstay-") for entry in entries)
    except FileNotFoundError:
        return folder
    except OSError:
        return None
    return folder if ours else None


def _device_of(fsid: bytes) -> bytes | None:
    """A device of the mounted file system, by the kernel's own list."""
    try:
        devices = sorted(os.listdir(_SYS / str(uuid.UUID(bytes=fsid)) / "devices"))
    except OSError:
        return None
    return next((b"/dev/" + os.fsencode(name) for name in devices if Path("/dev", name).exists()), None)


def _top_name(fsid: bytes) -> str:
    return f"btrfs-{uuid.UUID(bytes=fsid)}"


def _in_words(volume: Volume) -> str:
    return f"the btrfs subvolume at {os.fsdecode(volume.place)!r}"
