"""What every way to freeze a volume promises."""

import stat
from abc import ABC, abstractmethod

import msgspec

from backstay.domain.errors import SourceError
from backstay.recovery_points.volume import Mount, Mounts, Volume
from backstay.recovery_points.workspace import Workspace
from backstay.system.calls import os
from backstay.system.host import quoted_path


class RecoveryPoint(msgspec.Struct, frozen=True):
    """A frozen view of a volume, or the plan of one; enough of it is recorded to find and delete it later.

    Attributes:
        provider: name of the provider.
        name: unique for ever; begins with `backstay-`.
        volume: in words, for messages.
        view: below this path the volume's root is readable, once it has been taken.
        identity: what the provider needs to find it again after a restart of the machine.
    """

    provider: str
    name: str
    volume: str
    view: bytes
    identity: dict[str, bytes]


class Provider(ABC):
    """Freezes volumes of one kind.

    A new one is a file with a subclass, a line in the registry, and a parameter of the
    suite in `backstay.testing.provider_suite`. The caller makes a plan, records it
    durably, and only then takes the point; it forgets the record only after a release.

    What can go wrong comes as SourceError, in words that an administrator understands;
    the caller then reads the volume live, or stops where that is forbidden.
    """

    name: str

    @abstractmethod
    def claims(self, mount: Mount) -> bool:
        """Whether file systems so mounted are of this kind. Quick: starts no process, asks no network."""

    def volumes(self, mount: Mount, place: bytes, mounts: Mounts, *, nested: bool) -> list[Volume]:
        """The volumes that hold the folder `place` and, where `nested`, what of this mount is below it.

        The first holds `place` itself. A volume inside a volume, of which the outer
        one's view shows nothing, comes after it with its own place.

        Raises:
            SourceError: they cannot be told.
        """
        inode = os.stat(place).st_ino
        return [Volume(mount, place, mount.inner(place), (self.name, mount.device), inode)]

    @abstractmethod
    def plan(self, volume: Volume, name: str, workspace: Workspace) -> RecoveryPoint:
        """Say what `take` will make, and change nothing.

        Args:
            name: the recovery point's.
            workspace: the job's, for mounts.

        Raises:
            SourceError: it can be told already that this will not work.
        """

    def drop_plan(self, point: RecoveryPoint) -> None:
        """A plan comes to nothing: let go of what was held for it. Never raises."""
        return

    @abstractmethod
    def take(self, point: RecoveryPoint, volume: Volume, workspace: Workspace) -> None:
        """Make it: all of the volume as of one instant between call and return, read-only and at `view`.

        Everything written before the call is in it. What is written during the call and
        not synced may be in it for one file and not for another, as after a power cut.
        Never touches what was there before. Where it fails, `release` still has to be called.

        Raises:
            SourceError: it could not be made.
        """

    def remarks(self, point: RecoveryPoint) -> list[str]:
        """What else is worth a line in the job, once it has been taken."""
        return []

    def validate(self, point: RecoveryPoint, volume: Volume) -> None:
        """Make sure that it exists and can be read, and that the volume's place is in it.

        Raises:
            SourceError: one of these is not so.
        """
        place = os.path.join(point.view, volume.inner) if volume.inner else point.view
        try:
            fd = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                found = os.fstat(fd)
                with os.scandir(fd) as entries:
                    next(entries, None)
            finally:
                os.close(fd)
        except OSError as error:
            raise SourceError(
                f"the recovery point of {point.volume} cannot be read: {(error.strerror or '').lower()}"
            ) from error
        if found.st_ino != volume.inode or not stat.S_ISDIR(found.st_mode):
            raise SourceError(
                f"{quoted_path(volume.place)} is another folder in the recovery point of {point.volume}"
            )

    @abstractmethod
    def release(self, point: RecoveryPoint, workspace: Workspace) -> None:
        """Delete exactly this recovery point; well done, too, where it was never made or is gone.

        Args:
            workspace: for mounts that deleting needs; need not be the one that it was taken with.

        Raises:
            SourceError: it may be there still; worth another try later.
        """

    def sweep(self, points: list[RecoveryPoint], workspace: Workspace) -> dict[str, str]:
        """Delete recovery points that dead processes recorded.

        Never raises: a leftover must not keep a backup from running.

        Returns:
            names of those that may be there still, and why.
        """
        kept: dict[str, str] = {}
        for point in points:
            try:
                self.release(point, workspace)
            except (SourceError, OSError) as error:
                kept[point.name] = str(error)
        return kept
