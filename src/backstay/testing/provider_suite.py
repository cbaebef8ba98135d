"""What every recovery point provider must do. A new one subclasses ProviderSuite and says what it freezes."""

import os
import secrets
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from backstay.domain.errors import SourceError
from backstay.recovery_points.provider import Provider, RecoveryPoint
from backstay.recovery_points.volume import Mount, Mounts, Volume
from backstay.recovery_points.workspace import Workspace


@dataclass
class Subject:
    """A provider, and a live folder on a volume that it can freeze.

    Attributes:
        mounts: in which the folder's volume looks as the provider expects it.
    """

    provider: Provider
    folder: Path
    mounts: Mounts

    @property
    def mount(self) -> Mount:
        """The mount that holds the folder."""
        mount = self.mounts.holding(os.fsencode(self.folder))
        assert mount is not None
        return mount

    def volume(self) -> Volume:
        """The volume that holds the folder."""
        place = os.fsencode(self.folder)
        return self.provider.volumes(self.mount, place, self.mounts, nested=False)[0]

    def plan(self, workspace: Workspace) -> RecoveryPoint:
        """Of a recovery point with a new name."""
        return self.provider.plan(self.volume(), f"backstay-{secrets.token_hex(8)}-0", workspace)

    def take(self, workspace: Workspace) -> RecoveryPoint:
        """A recovery point that can be read."""
        point = self.plan(workspace)
        self.provider.take(point, self.volume(), workspace)
        self.provider.validate(point, self.volume())
        return point

    def view(self, point: RecoveryPoint) -> Path:
        """The folder in the recovery point."""
        return Path(os.fsdecode(os.path.join(point.view, self.volume().inner)))


class ProviderSuite:
    """The promises of Provider, one test each.

    A subclass named `Test…` defines `subject` as a pytest fixture, whose volume has no
    recovery points yet, and `existing`.
    """

    @pytest.fixture
    @abstractmethod
    def subject(self) -> Subject:
        """A volume for the provider."""
        raise NotImplementedError

    @abstractmethod
    def existing(self, subject: Subject) -> set[str]:
        """The names of all snapshots of the volume, whosever they are, asked without the provider."""
        raise NotImplementedError

    @pytest.fixture
    def workspace(self) -> Iterator[Workspace]:
        """A new one."""
        workspace = Workspace(f"suite-{secrets.token_hex(8)}")
        yield workspace
        workspace.close()
        assert not workspace.path.exists()

    def test_claims_its_own(self, subject: Subject) -> None:
        """It claims the volume, and neither memory nor the kernel's own file systems."""
        assert subject.provider.claims(subject.mount)
        others = [mount for mount in subject.mounts.all if mount.fs_type in ("proc", "tmpfs", "sysfs")]
        assert others
        assert not any(subject.provider.claims(mount) for mount in others)

    def test_leaves_read_only_volumes(self, subject: Subject) -> None:
        """Where nothing can be written nothing is tried."""
        mount = subject.mount._replace(super_options=frozenset((b"ro",)))
        assert not subject.provider.claims(mount)

    def test_one_key_for_one_volume(self, subject: Subject) -> None:
        """Two folders of a volume have one recovery point, and each its own place in it."""
        other = subject.folder / "other"
        other.mkdir()
        volumes = subject.provider.volumes(subject.mount, os.fsencode(other), subject.mounts, nested=False)
        assert volumes[0].key == subject.volume().key
        assert volumes[0].inner == os.path.join(subject.volume().inner, b"other")

    def test_plan_makes_nothing(self, subject: Subject, workspace: Workspace) -> None:
        """A plan is only a plan, and to release it is nothing."""
        point = subject.plan(workspace)
        assert self.existing(subject) == set()
        assert point.name.startswith("backstay-")
        assert not workspace.path.exists()
        subject.provider.release(point, workspace)

    def test_shows_the_instant(self, subject: Subject, workspace: Workspace) -> None:
        """What is written, made, renamed or deleted afterwards does not reach the view."""
        kept, gone = subject.folder / "kept", subject.folder / "gone"
        kept.write_bytes(b"before")
        gone.write_bytes(b"still here")
        point = subject.take(workspace)
        kept.write_bytes(b"after all")
        gone.rename(subject.folder / "renamed")
        (subject.folder / "new").touch()
        view = subject.view(point)
        assert sorted(entry.name for entry in view.iterdir()) == ["gone", "kept"]
        assert (view / "kept").read_bytes() == b"before"
        assert (view / "gone").read_bytes() == b"still here"
        subject.provider.release(point, workspace)

    def test_shows_the_same_files(self, subject: Subject, workspace: Workspace) -> None:
        """Inode numbers, times and links are those of the live files, so nothing looks changed."""
        (subject.folder / "file").write_bytes(b"1")
        (subject.folder / "link").hardlink_to(subject.folder / "file")
        live = (subject.folder / "file").stat()
        point = subject.take(workspace)
        seen = (subject.view(point) / "file").stat()
        for name in ("st_ino", "st_mtime_ns", "st_ctime_ns", "st_nlink", "st_size", "st_mode", "st_uid"):
            assert getattr(seen, name) == getattr(live, name), name
        subject.provider.release(point, workspace)

    def test_view_cannot_be_written(self, subject: Subject, workspace: Workspace) -> None:
        """Nobody can spoil a recovery point, nor put something in it."""
        (subject.folder / "file").write_bytes(b"1")
        point = subject.take(workspace)
        with pytest.raises(OSError, match="Read-only"):
            (subject.view(point) / "file").write_bytes(b"2")
        with pytest.raises(OSError, match="Read-only"):
            (subject.view(point) / "other").mkdir()
        subject.provider.release(point, workspace)

    def test_release_deletes(self, subject: Subject, workspace: Workspace) -> None:
        """After a release nothing of it is left; releasing again is nothing."""
        point = subject.take(workspace)
        assert point.name in self.existing(subject)
        subject.provider.release(point, workspace)
        assert self.existing(subject) == set()
        subject.provider.release(point, workspace)
        assert sorted(subject.folder.iterdir()) == []

    def test_release_spares_others(self, subject: Subject, workspace: Workspace) -> None:
        """Of two recovery points of one volume only the one that was named goes."""
        first, second = subject.take(workspace), subject.take(workspace)
        subject.provider.release(first, workspace)
        assert self.existing(subject) == {second.name}
        subject.provider.validate(second, subject.volume())
        subject.provider.release(second, workspace)

    def test_release_after_a_crash(self, subject: Subject, workspace: Workspace) -> None:
        """Another process, with no mount of the first, deletes it."""
        lost = Workspace(f"suite-{secrets.token_hex(8)}")
        point = subject.take(lost)
        lost.close()
        assert point.name in self.existing(subject)
        assert subject.provider.sweep([point], workspace) == {}
        assert self.existing(subject) == set()

    def test_validate_misses_what_is_not_there(self, subject: Subject, workspace: Workspace) -> None:
        """A recovery point that was not made, or was deleted by others, is not taken for good."""
        point = subject.plan(workspace)
        with pytest.raises(SourceError, match="cannot be read"):
            subject.provider.validate(point, subject.volume())

    def test_validate_knows_the_folder(self, subject: Subject, workspace: Workspace) -> None:
        """A view in which another folder has the place of the live one is not taken for good."""
        point = subject.take(workspace)
        volume = subject.volume()
        wrong = Volume(volume.mount, volume.place, volume.inner, volume.key, volume.inode + 1)
        with pytest.raises(SourceError, match="another folder"):
            subject.provider.validate(point, wrong)
        subject.provider.release(point, workspace)
