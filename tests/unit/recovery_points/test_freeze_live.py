"""Freezing where nothing can be frozen, and with providers that fail."""

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from backstay.backup.freeze import freeze
from backstay.backup.source import SourceRoot
from backstay.domain.entry import Grade
from backstay.domain.errors import SourceError
from backstay.recovery_points.live import needs_no_freezing, why_live
from backstay.recovery_points.provider import Provider, RecoveryPoint
from backstay.recovery_points.registry import PROVIDERS, provider_for
from backstay.recovery_points.volume import Mount, Mounts, Volume
from backstay.recovery_points.workspace import Workspace

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root's volumes are frozen")


def root_of(path: Path) -> SourceRoot:
    """A root that is read live."""
    return SourceRoot(os.fsencode(path).lstrip(b"/"), os.fsencode(path))


def mount(fs_type: str, source: bytes = b"/dev/sda1", options: bytes = b"rw") -> Mount:
    """A mount of that kind."""
    flags = frozenset((options,))
    return Mount(1, b"8:1", b"/", b"/srv", flags, fs_type, source, flags)


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """A folder on a volume that cannot be frozen."""
    held = Mounts.read().holding(os.fsencode(tmp_path))
    if held is None or provider_for(held) is not None:
        pytest.skip("the folder for tests is on a volume that can be frozen")
    return tmp_path


def test_live_with_a_reason(plain: Path) -> None:
    """The roots are read where they are, and the step says why; nothing is made to find that out."""
    roots = [root_of(plain)]
    frozen = freeze(roots, allow_live=True, records=plain / "records")
    assert frozen.roots == roots
    assert len(frozen.messages) == 1
    assert "its files are read live" in frozen.messages[0]
    assert frozen.release() == []
    assert not (plain / "records").exists()


def test_live_can_be_forbidden(plain: Path) -> None:
    """Where live files are not allowed the refusal names the folder and the reason, and has a hint."""
    with pytest.raises(SourceError, match="cannot be frozen") as caught:
        freeze([root_of(plain)], allow_live=False, records=plain / "records")
    assert caught.value.hint


def test_one_reason_for_one_volume(plain: Path) -> None:
    """Several roots on one volume are explained once."""
    for name in ("a", "b"):
        (plain / name).mkdir()
    roots = [root_of(plain / name) for name in ("a", "b")]
    assert len(freeze(roots, allow_live=True, records=plain / "records").messages) == 1


def test_costs_nothing(plain: Path) -> None:
    """Where nothing can be frozen it takes less than two milliseconds."""
    roots = [root_of(plain)]
    times = []
    for _ in range(15):
        started = time.perf_counter()
        freeze(roots, allow_live=True, records=plain / "records").release()
        times.append(time.perf_counter() - started)
    assert min(times) < 0.002


@pytest.mark.parametrize(
    ("what", "words"),
    [
        (mount("ext4"), "'/srv' is ext4 on a plain partition: it cannot be frozen; its files are read live"),
        (mount("nfs4", b"host:/x"), "on another machine"),
        (mount("tmpfs", b"tmpfs"), "in memory"),
        (mount("btrfs", options=b"ro"), "mounted read-only"),
        (mount("btrfs"), "only root can freeze it"),
        (mount("overlay", b"overlay"), "'/srv' is overlay: it cannot be frozen"),
    ],
)
def test_reasons(what: Mount, words: str) -> None:
    """Each kind of volume has its own plain words."""
    assert words in why_live(b"/srv", what, is_root=False)


def test_what_never_changes_may_be_read_live() -> None:
    """The kernel's own file systems and images that nobody can write are no reason to refuse."""
    assert needs_no_freezing(mount("proc"))
    assert needs_no_freezing(mount("squashfs"))
    assert not needs_no_freezing(mount("ext4"))
    assert not needs_no_freezing(mount("ext4", options=b"ro"))


def test_registry() -> None:
    """Names are unique, as records carry them, and the first that claims a mount gets it."""
    assert len({provider.name for provider in PROVIDERS}) == len(PROVIDERS)
    found = provider_for(mount("btrfs"))
    assert found is not None
    assert found.name == "btrfs"
    assert provider_for(mount("vfat")) is None


class Broken(Provider):
    """Fails at the step that it is told, and keeps what was asked of it."""

    name = "broken"

    def __init__(self, records: Path, at: str) -> None:
        self.records = records
        self.at = at
        self.asked: list[str] = []

    def claims(self, mount: Mount) -> bool:
        """Whatever it is."""
        return True

    def volumes(self, mount: Mount, place: bytes, mounts: Mounts, *, nested: bool) -> list[Volume]:
        """As any other, or not."""
        self._step("volumes")
        return super().volumes(mount, place, mounts, nested=nested)

    def plan(self, volume: Volume, name: str, workspace: Workspace) -> RecoveryPoint:
        """A view of the live folder."""
        self._step("plan")
        return RecoveryPoint(self.name, name, "it", volume.mount.point, {})

    def take(self, point: RecoveryPoint, volume: Volume, workspace: Workspace) -> None:
        """Nothing, but it must have been recorded."""
        assert [path.name for path in self.records.iterdir()] == [f"{point.name}.point"]
        self._step("take")

    def validate(self, point: RecoveryPoint, volume: Volume) -> None:
        """Nothing."""
        self._step("validate")

    def release(self, point: RecoveryPoint, workspace: Workspace) -> None:
        """Nothing."""
        self._step("release")

    def _step(self, name: str) -> None:
        self.asked.append(name)
        if name == self.at:
            raise SourceError(f"{name} is broken")


@as_root
@pytest.mark.parametrize("at", ["volumes", "plan", "take", "validate"])
def test_failing_providers(tmp_path: Path, at: str) -> None:
    """Whatever step fails: live with the reason or refused, and what may have been made is released."""
    records = tmp_path / "records"
    provider = Broken(records, at)
    roots = [root_of(tmp_path)]
    frozen = freeze(roots, allow_live=True, records=records, providers=[provider])
    assert frozen.roots == roots
    assert [message for message in frozen.messages if f"{at} is broken" in message]
    assert frozen.release() == []
    assert ("release" in provider.asked) == (at in ("take", "validate"))
    with pytest.raises(SourceError, match=f"{at} is broken"):
        freeze(roots, allow_live=False, records=records, providers=[provider])
    assert provider.asked.count("release") == (2 if at in ("take", "validate") else 0)
    assert not records.exists() or list(records.iterdir()) == []


@as_root
def test_release_never_raises(tmp_path: Path) -> None:
    """A release that fails is told in words, the record stays, and the job goes on."""
    records = tmp_path / "records"
    provider = Broken(records, "release")
    frozen = freeze([root_of(tmp_path)], allow_live=True, records=records, providers=[provider])
    assert frozen.roots[0].grade == Grade.SNAPSHOT
    assert os.path.samefile(frozen.roots[0].actual, tmp_path)
    assert frozen.release() == ["release is broken; the next backup tries again"]
    assert len(list(records.iterdir())) == 1
    assert frozen.release() == []
    provider.at = ""
    again = freeze([], allow_live=True, records=records, providers=[provider])
    assert list(records.iterdir()) == []
    assert again.messages == []


class OneAFolder(Broken):
    """Takes each folder for a volume of its own."""

    def volumes(self, mount: Mount, place: bytes, mounts: Mounts, *, nested: bool) -> list[Volume]:
        """Of that folder alone."""
        (volume,) = super().volumes(mount, place, mounts, nested=nested)
        return [replace(volume, key=(place,))]

    def take(self, point: RecoveryPoint, volume: Volume, workspace: Workspace) -> None:
        """Nothing, but that of each volume must have been recorded."""
        assert len(list(self.records.iterdir())) == 2
        self._step("take")


@as_root
def test_all_are_planned_before_one_is_taken(tmp_path: Path) -> None:
    """What belongs together on several volumes can be frozen at one moment."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    provider = OneAFolder(tmp_path / "records", "")
    roots = [root_of(tmp_path / name) for name in ("a", "b")]
    frozen = freeze(roots, allow_live=False, records=tmp_path / "records", providers=[provider])
    assert [step for step in provider.asked if step in ("plan", "take")] == ["plan", "plan", "take", "take"]
    assert [root.grade for root in frozen.roots] == [Grade.SNAPSHOT, Grade.SNAPSHOT]
    assert frozen.release() == []
