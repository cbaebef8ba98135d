"""Every provider keeps the promises: btrfs for real; LVM, ZFS and VSS over stand-ins of what makes snapshots.

The stand-ins keep a volume in an image file and make a snapshot by copying the image while its file system is
frozen, so what is mounted and read is real; only `lvs`, `lvcreate`, `lvremove`, `zfs` and VSS are not.
"""

import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from backstay.recovery_points.btrfs import Btrfs
from backstay.recovery_points.command import Answer
from backstay.recovery_points.lvm import Lvm
from backstay.recovery_points.provider import RecoveryPoint
from backstay.recovery_points.volume import Mounts, Volume
from backstay.recovery_points.vss import Vss
from backstay.recovery_points.workspace import Workspace
from backstay.recovery_points.zfs import Zfs
from backstay.testing.provider_suite import ProviderSuite, Subject
from backstay.testing.vss_stand_in import StandInVss

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to mount")

_MAKE = {
    "btrfs": ["mkfs.btrfs", "-q"],
    "ext4": ["mkfs.ext4", "-q", "-F"],
    "xfs": ["mkfs.xfs", "-q"],
}
_SIZE = {"btrfs": 128 << 20, "ext4": 16 << 20, "xfs": 300 << 20}


class Image:
    """A file system in a file, mounted; snapshots are copies of the file."""

    def __init__(self, base: Path, kind: str) -> None:
        self.kind = kind
        self.path = base / "image"
        self.mounted = base / "mounted"
        self.mounted.mkdir()
        with self.path.open("wb") as file:
            file.truncate(_SIZE[kind])
        if not shutil.which(_MAKE[kind][0]):
            pytest.skip(f"{_MAKE[kind][0]} is not installed")
        run(*_MAKE[kind], self.path)
        done = subprocess.run(
            ["mount", "-o", "loop", self.path, self.mounted], capture_output=True, text=True, check=False
        )
        if done.returncode:
            pytest.skip(f"{kind} images cannot be mounted here: {done.stderr.strip()}")
        self.snapshots: dict[str, Path] = {}

    def snapshot(self, name: str) -> Path:
        """A copy as of one instant."""
        copy = self.path.with_name(name)
        run("fsfreeze", "--freeze", self.mounted)
        try:
            run("cp", "--sparse=always", self.path, copy)
        finally:
            run("fsfreeze", "--unfreeze", self.mounted)
        self.snapshots[name] = copy
        return copy

    def remove(self, name: str) -> None:
        """Delete the copy."""
        self.snapshots.pop(name).unlink()

    def close(self) -> None:
        """Unmount it, and give its space back."""
        run("umount", "--lazy", self.mounted)
        self.path.unlink()

    def mounts(self, fs_type: bytes, source: bytes) -> Mounts:
        """The machine's mounts, with this one's type and source as given."""
        lines = []
        for line in Path("/proc/self/mountinfo").read_bytes().splitlines():
            fixed, _, rest = line.partition(b" - ")
            if fixed.split()[4] == os.fsencode(self.mounted):
                rest = b" ".join((fs_type, source, rest.split()[2]))
            lines.append(fixed + b" - " + rest)
        return Mounts(b"\n".join(lines))


def run(*command: object) -> str:
    """The output of a command."""
    done = subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True)
    return done.stdout


def folder_in(image: Image) -> Path:
    """A folder on the image, below its top."""
    folder = image.mounted / "some" / "set"
    folder.mkdir(parents=True)
    return folder


class TestBtrfs(ProviderSuite):
    """A real btrfs."""

    @pytest.fixture
    def subject(self, tmp_path: Path) -> Iterator[Subject]:
        """A folder in the top subvolume."""
        image = Image(tmp_path, "btrfs")
        yield Subject(Btrfs(), folder_in(image), Mounts.read())
        image.close()

    def existing(self, subject: Subject) -> set[str]:
        """As the btrfs tool lists them."""
        listed = run("btrfs", "subvolume", "list", "-o", subject.folder.parents[1])
        return {line.split(" path ")[1].rpartition("/")[2] for line in listed.splitlines()}


class TestBtrfsSubvolume(TestBtrfs):
    """A folder in a subvolume that is mounted by itself, at the end of a bind mount."""

    @pytest.fixture
    def subject(self, tmp_path: Path) -> Iterator[Subject]:
        """A bind mount of a folder in the subvolume `@data`."""
        image = Image(tmp_path, "btrfs")
        run("btrfs", "subvolume", "create", image.mounted / "@data")
        (image.mounted / "@data" / "deep" / "set").mkdir(parents=True)
        bound = tmp_path / "bound"
        bound.mkdir()
        run("mount", "--bind", image.mounted / "@data" / "deep", bound)
        yield Subject(Btrfs(), bound / "set", Mounts.read())
        run("umount", bound)
        image.close()

    def existing(self, subject: Subject) -> set[str]:
        """As the btrfs tool lists them."""
        listed = run("btrfs", "subvolume", "list", subject.folder.parents[1] / "mounted")
        return {line.split(" path ")[1].rpartition("/")[2] for line in listed.splitlines()} - {"@data"}


class VolumeGroup:
    """Stands in for lvs, lvcreate and lvremove: answers as LVM 2.03 does."""

    def __init__(self, image: Image) -> None:
        self.image = image
        self.name = f"vg{secrets.token_hex(4)}"
        self.devices = Path("/dev", self.name)
        self.free = 1 << 30

    def run(self, command: Sequence[str], seconds: float) -> Answer:
        """A `Run`."""
        tool, *arguments = command
        return {"lvs": self._lvs, "lvcreate": self._lvcreate, "lvremove": self._lvremove}[tool](arguments)

    def _lvs(self, arguments: list[str]) -> Answer:
        assert arguments[-1] == f"/dev/mapper/{self.name}-data"
        size = self.image.path.stat().st_size
        return Answer(0, f"  {self.name}|data||{size}|{self.free}\n", "")

    def _lvcreate(self, arguments: list[str]) -> Answer:
        assert arguments[-1] == f"{self.name}/data"
        name = arguments[arguments.index("--name") + 1]
        if name in self.image.snapshots:
            return Answer(5, "", f'  Logical Volume "{name}" already exists in volume group "{self.name}"\n')
        copy = self.image.snapshot(name)
        device = run("losetup", "--find", "--show", copy).strip()
        self.devices.mkdir(exist_ok=True)
        (self.devices / name).symlink_to(device)
        return Answer(0, f'  Logical volume "{name}" created.\n', "")

    def _lvremove(self, arguments: list[str]) -> Answer:
        group, _, name = arguments[-1].partition("/")
        if name not in self.image.snapshots:
            return Answer(5, "", f'  Failed to find logical volume "{group}/{name}"\n')
        device = os.readlink(self.devices / name)
        if f" {device} " in Path("/proc/self/mountinfo").read_text():
            return Answer(5, "", f"  Logical volume {group}/{name} contains a filesystem in use.\n")
        run("losetup", "--detach", device)
        (self.devices / name).unlink()
        self.image.remove(name)
        return Answer(0, f'  Logical volume "{name}" successfully removed.\n', "")

    def close(self) -> None:
        """Forget what is left."""
        for name in list(self.image.snapshots):
            self._lvremove(["--yes", f"{self.name}/{name}"])
        if self.devices.exists():
            self.devices.rmdir()


@pytest.mark.parametrize("kind", ["ext4", "xfs"])
class TestLvm(ProviderSuite):
    """Real ext4 and xfs on a stand-in of LVM."""

    @pytest.fixture
    def subject(self, tmp_path: Path, kind: str) -> Iterator[Subject]:
        """A folder on the origin."""
        image = Image(tmp_path, kind)
        group = VolumeGroup(image)
        mounts = image.mounts(kind.encode(), f"/dev/mapper/{group.name}-data".encode())
        folder = folder_in(image)
        mount = mounts.holding(os.fsencode(folder))
        assert mount is not None
        mapper = tmp_path / "sys" / mount.device.decode() / "dm"
        mapper.mkdir(parents=True)
        (mapper / "uuid").write_text("LVM-" + "x" * 64 + "\n")
        (mapper / "name").write_text(f"{group.name}-data\n")
        yield Subject(Lvm(group.run, tmp_path / "sys", lambda seconds: None), folder, mounts)
        group.close()
        image.close()

    def existing(self, subject: Subject) -> set[str]:
        """The copies."""
        return {path.name for path in subject.folder.parents[2].glob("backstay-*")}


class Pool:
    """Stands in for the command zfs, and for the kernel's automount below `.zfs/snapshot`."""

    def __init__(self, image: Image) -> None:
        self.image = image
        self.folder = image.mounted / ".zfs" / "snapshot"

    def run(self, command: Sequence[str], seconds: float) -> Answer:
        """A `Run`."""
        _, verb, what = command
        dataset, _, name = what.partition("@")
        assert dataset == "tank/data"
        return {"snapshot": self._snapshot, "destroy": self._destroy}[verb](what, name)

    def _snapshot(self, what: str, name: str) -> Answer:
        if name in self.image.snapshots:
            return Answer(1, "", f"cannot create snapshot '{what}': dataset already exists\n")
        copy = self.image.snapshot(name)
        view = self.folder / name
        view.mkdir(parents=True)
        run("mount", "-o", "loop,ro,noload", copy, view)
        return Answer(0, "", "")

    def _destroy(self, what: str, name: str) -> Answer:
        if name not in self.image.snapshots:
            return Answer(1, "", "could not find any snapshots to destroy; check snapshot names.\n")
        run("umount", self.folder / name)
        (self.folder / name).rmdir()
        self.image.remove(name)
        return Answer(0, "", "")


class TestZfs(ProviderSuite):
    """A stand-in of ZFS over a real file system."""

    @pytest.fixture
    def subject(self, tmp_path: Path) -> Iterator[Subject]:
        """A folder in the dataset."""
        image = Image(tmp_path, "ext4")
        pool = Pool(image)
        mounts = image.mounts(b"zfs", b"tank/data")
        yield Subject(Zfs(pool.run, lambda seconds: None), folder_in(image), mounts)
        for name in list(image.snapshots):
            pool.run(["zfs", "destroy", f"tank/data@{name}"], 1)
        image.close()

    def existing(self, subject: Subject) -> set[str]:
        """The copies."""
        return {path.name for path in subject.folder.parents[2].glob("backstay-*")}


class TestVss(ProviderSuite):
    """VSS over a stand-in of the service, whose shadow copies are copies of an ext4 image, mounted."""

    @pytest.fixture
    def subject(self, tmp_path: Path) -> Iterator[Subject]:
        """A folder on an image that is said to be NTFS."""
        image = Image(tmp_path, "ext4")

        def freeze(volume: str, id: str) -> Path:
            shown = tmp_path / f"shown-{id}"
            shown.mkdir()
            run("mount", "-o", "loop,ro,noload", image.snapshot(id), shown)
            return shown

        def thaw(id: str) -> None:
            run("umount", "--lazy", tmp_path / f"shown-{id}")
            image.remove(id)

        self.machine = StandInVss(freeze, thaw)
        volume = b"Volume{9f0e3f2a-0000-0000-0000-100000000000}"
        provider = Vss(self.machine, self.machine.place_of, pause=lambda seconds: None)
        self.names: dict[str, str] = {}
        plan = provider.plan

        def noting(volume: Volume, name: str, workspace: Workspace) -> RecoveryPoint:
            point = plan(volume, name, workspace)
            self.names[name] = point.identity["shadow"].decode()
            return point

        provider.plan = noting  # type: ignore[method-assign]
        yield Subject(provider, folder_in(image), image.mounts(b"NTFS", volume))
        self.machine.process_dies()
        image.close()

    def existing(self, subject: Subject) -> set[str]:
        """By the names that recovery points have for them."""
        return {name for name, id in self.names.items() if id in self.machine.shadows}
