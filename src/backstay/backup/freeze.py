"""Step 3: a recovery point of every volume that can be frozen; the others are read live.

All of them are planned before the first is taken, and taken one right after the other: what belongs together
on several volumes is frozen at one moment where a provider can do that (VSS), and as nearly so as may be
elsewhere.

A root on a frozen volume is read through a *view*: a folder that shows the recovery
point and, at their places in it, whatever lies below the root on other volumes, each
frozen where that can be and live where it cannot. So nothing that is mounted below a
root, and no subvolume nested in it, turns into the empty folder that a recovery point
has in its place; and a mount point is as recognisable as it is live.
"""

import secrets
import stat
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from backstay.backup.source import SourceRoot
from backstay.domain.entry import Grade
from backstay.domain.errors import SourceError
from backstay.recovery_points.live import is_same_for_all, needs_no_freezing, why_live
from backstay.recovery_points.provider import Provider, RecoveryPoint
from backstay.recovery_points.record import Records
from backstay.recovery_points.registry import (
    PROVIDERS,
    own_folders,
    provider_for,
    read_mounts,
    sweep,
    workspace_named,
)
from backstay.recovery_points.volume import Mount, Mounts, Volume, real_place
from backstay.system.calls import os
from backstay.system.host import quoted_path, sync_filesystem
from backstay.system.places import state_root


@dataclass
class FrozenSource:
    """Where to read each source root, and what has to be given back.

    Attributes:
        roots: the source roots, those on frozen volumes leading into recovery points.
        asked_ns: before the first recovery point was taken: a file modified at this time or later may
            have changed again with the same times after it.
        messages: what was frozen, what is read live, and why.
        hidden: folders of Backstay's own, by their original paths: no part of any set.
        devices: st_dev in a recovery point → of the live volume, which stays the same from backup to backup.
    """

    roots: list[SourceRoot]
    asked_ns: int
    messages: list[str] = field(default_factory=list)
    hidden: set[bytes] = field(default_factory=set)
    devices: dict[int, int] = field(default_factory=dict)
    _job: "_Job | None" = None

    def release(self) -> list[str]:
        """Delete the recovery points that this backup took; says what could not be deleted. Never raises."""
        job, self._job = self._job, None
        return job.release() if job is not None else []


@dataclass
class _Piece:
    """A part of what lies below a root: on one volume, or on a mount that is read live."""

    place: bytes
    mount: Mount
    wanted: bool
    provider: Provider | None = None
    volume: Volume | None = None
    point: RecoveryPoint | None = None

    @property
    def grade(self) -> Grade:
        return Grade.STABLE if self.point is None else Grade.SNAPSHOT

    @property
    def source(self) -> bytes:
        if self.point is None or self.volume is None:
            return self.place
        return os.path.join(self.point.view, self.volume.inner) if self.volume.inner else self.point.view


@dataclass(frozen=True)
class _Look:
    """What a root is made of.

    Attributes:
        place: the root's real place; `inode` what was there.
        folder: the place itself, or the folder that holds it where it is no folder; `name` is then its name.
    """

    place: bytes
    inode: int
    folder: bytes
    name: bytes
    pieces: list[_Piece]


_Key = tuple[str | bytes | int, ...]


def freeze(
    roots: list[SourceRoot],
    *,
    allow_live: bool,
    cross_mounts: bool = False,
    records: Path | None = None,
    providers: Sequence[Provider] = PROVIDERS,
) -> FrozenSource:
    """Take and validate recovery points; first delete those that killed backups left.

    Costs nothing to speak of where no volume can be frozen: one read of the mounts.

    Args:
        roots: to be read live.
        cross_mounts: whether other volumes below a root are part of the set.
        records: the folder where recovery points are noted; by default in the folder for scan states.

    Raises:
        SourceError: a volume of the set cannot be frozen and `allow_live` is False.
    """
    noted = Records(records or state_root() / "recovery-points")
    messages = sweep(noted, providers)
    job = _Job(noted, read_mounts(), allow_live, cross_mounts, providers)
    frozen = FrozenSource([], time.time_ns(), messages, _job=job)
    try:
        looks = [job.look(root, frozen) for root in roots]
        job.take_all()
        for root, seen in zip(roots, looks, strict=True):
            frozen.roots.append(root if seen is None else job.show(root, seen, frozen))
    except BaseException:
        frozen.release()
        raise
    frozen.messages += job.messages
    return frozen


def hidden_where_live(roots: list[SourceRoot], *, cross_mounts: bool) -> set[bytes] | None:
    """What `freeze` would hide of roots that it can only leave live; None where it could freeze a part."""
    mounts = read_mounts()
    providers = PROVIDERS if os.geteuid() == 0 else ()
    own = own_folders(mounts)
    hidden: set[bytes] = set()
    for root in roots:
        place = real_place(root.actual)
        folder = place if os.path.isdir(place) else os.path.dirname(place)
        mount = mounts.holding(folder)
        if mount is None:
            continue
        below = mounts.below(folder) if folder == place and cross_mounts else []
        if any(provider_for(each, providers) for each in (mount, *below)):
            return None
        if folder == place:
            hidden |= {_original(root, folder, one) for one in own if _is_below(one, folder)}
    return hidden


def sweep_left_over() -> list[str]:
    """Delete recovery points that killed backups left, as when the agent starts; what was done, in words."""
    return sweep(Records(state_root() / "recovery-points"), PROVIDERS)


class _Job:
    """The recovery points and views of one backup."""

    def __init__(
        self, records: Records, mounts: Mounts, allow_live: bool, cross: bool, providers: Sequence[Provider]
    ) -> None:
        self._records = records
        self._mounts = mounts
        self._allow_live = allow_live
        self._cross = cross
        self._is_root = os.geteuid() == 0
        self._providers = providers if self._is_root else ()
        self._token = secrets.token_hex(8)
        self._workspace = workspace_named(self._token)
        self._planned: dict[_Key, tuple[Provider, Volume, RecoveryPoint] | None] = {}
        self._taken: dict[_Key, RecoveryPoint] = {}
        self._noted: list[tuple[Provider, RecoveryPoint]] = []
        self._views: list[str] = []
        self._own = own_folders(mounts)
        self._told: set[int] = set()
        self.messages: list[str] = []

    def look(self, root: SourceRoot, frozen: FrozenSource) -> _Look | None:
        """Plan a recovery point of each volume of the root; None where it can only be read live."""
        place = real_place(root.actual)
        try:
            live = os.lstat(place)
        except OSError:
            return None
        folder = place if stat.S_ISDIR(live.st_mode) else os.path.dirname(place)
        name = b"" if folder == place else os.path.basename(place)
        mount = self._mounts.holding(folder)
        if mount is None:
            return None
        if not name:
            frozen.hidden |= {_original(root, folder, own) for own in self._own if _is_below(own, folder)}
        below = [] if name else self._mounts.below(folder)
        can_freeze = [mount, *(below if self._cross else ())]
        if not any(provider_for(each, self._providers) for each in can_freeze):
            self._tell_live(folder, mount)
            for each in below if self._cross else ():
                self._tell_live(each.point, each)
            return None
        pieces = self._pieces(folder, mount, below, nested=not name)
        for piece in pieces:
            if piece.wanted:
                self._plan_piece(piece)
        return _Look(place, live.st_ino, folder, name, pieces)

    def show(self, root: SourceRoot, seen: _Look, frozen: FrozenSource) -> SourceRoot:
        """The root as it is to be read: through a view where anything of it was frozen, else live."""
        pieces = seen.pieces
        for piece in pieces:
            if piece.wanted and piece.volume is not None:
                piece.point = self._taken.get(piece.volume.key)
        if not any(piece.point for piece in pieces):
            return root
        try:
            view = self._view(seen.folder, pieces, frozen)
            actual = os.path.join(view, seen.name) if seen.name else view
            if os.lstat(actual).st_ino != seen.inode:
                raise SourceError(f"{quoted_path(seen.place)} was replaced while its volume was frozen")
        except (SourceError, OSError) as error:
            self._live_after_all(f"{quoted_path(seen.place)} is read live: {error}", error)
            return root
        parts = tuple(
            (_original(root, seen.folder, piece.place), piece.grade)
            for piece in reversed(pieces[1:])
            if piece.wanted
        )
        return replace(root, actual=actual, grade=pieces[0].grade, parts=parts)

    def _pieces(self, folder: bytes, mount: Mount, below: list[Mount], *, nested: bool) -> list[_Piece]:
        """The volumes at and below a folder, outer ones first, as deep as the set goes."""
        found: list[_Piece] = []
        for each, place in [(mount, folder), *((other, other.point) for other in below)]:
            found += self._of_mount(each, place, is_first=each is mount and place == folder, nested=nested)
        found.sort(key=lambda piece: len(piece.place))
        pieces: list[_Piece] = []
        for piece in found:
            closed = (other.place for other in pieces if not other.wanted)
            if not any(_is_below(piece.place, place) for place in closed):
                pieces.append(piece)
        return pieces

    def _of_mount(self, mount: Mount, place: bytes, *, is_first: bool, nested: bool) -> list[_Piece]:
        wanted = is_first or self._cross
        if not wanted and mount.fs_type == "autofs":
            # To show it would mount what nobody asked for.
            return []
        provider = provider_for(mount, self._providers) if wanted else None
        if provider is None or not os.path.isdir(place):
            return [_Piece(place, mount, wanted)]
        try:
            volumes = provider.volumes(mount, place, self._mounts, nested=nested)
        except (SourceError, OSError) as error:
            self._live_after_all(f"{quoted_path(place)} is read live: {error}", error)
            self._told.add(mount.id)
            return [_Piece(place, mount, wanted)]
        first, *others = volumes
        return [
            _Piece(place, mount, wanted, provider, first),
            *(_Piece(volume.place, mount, self._cross, provider, volume) for volume in others),
        ]

    def _plan_piece(self, piece: _Piece) -> None:
        if piece.volume is None or piece.provider is None:
            self._tell_live(piece.place, piece.mount)
            return
        key = piece.volume.key
        if key not in self._planned:
            self._planned[key] = self._plan(piece.provider, piece.volume)

    def _plan(self, provider: Provider, volume: Volume) -> tuple[Provider, Volume, RecoveryPoint] | None:
        """A recovery point that was recorded; None where it cannot be had."""
        try:
            point = provider.plan(volume, f"backstay-{self._token}-{len(self._noted)}", self._workspace)
            try:
                self._records.write(self._token, point)
            except SourceError:
                provider.drop_plan(point)
                raise
        except (SourceError, OSError) as error:
            self._live_after_all(f"{quoted_path(volume.place)} is read live: {error}", error)
            return None
        self._noted.append((provider, point))
        return provider, volume, point

    def take_all(self) -> None:
        """Make what was planned, and look into it; what cannot be had is read live."""
        planned = [(key, *plan) for key, plan in self._planned.items() if plan is not None]
        for _, _, volume, _ in planned:
            # A page of a mapped file that is dirty already changes without a new mtime until it is written.
            sync_filesystem(volume.place)
        for key, provider, volume, point in planned:
            try:
                provider.take(point, volume, self._workspace)
                provider.validate(point, volume)
            except (SourceError, OSError) as error:
                self._live_after_all(f"{quoted_path(volume.place)} is read live: {error}", error)
                continue
            self._taken[key] = point
            self.messages.append(f"{point.volume} is frozen: a {provider.name} recovery point")
            self.messages += provider.remarks(point)

    def _view(self, folder: bytes, pieces: list[_Piece], frozen: FrozenSource) -> bytes:
        name = f"view-{len(self._views)}"
        self._views.append(name)
        view = self._workspace.make(name)
        for piece in pieces:
            target = view + (piece.place[len(folder.rstrip(b"/")) :] if piece.place != folder else b"")
            self._workspace.bind(piece.source, target)
            if piece.point is not None:
                frozen.devices[os.stat(target).st_dev] = os.stat(piece.place).st_dev
        return view

    def _tell_live(self, place: bytes, mount: Mount) -> None:
        if mount.id in self._told or is_same_for_all(mount):
            return
        self._told.add(mount.id)
        message = why_live(place, mount, is_root=self._is_root)
        if not self._allow_live and not needs_no_freezing(mount):
            raise _forbidden(message)
        self.messages.append(message)

    def _live_after_all(self, message: str, error: Exception) -> None:
        if not self._allow_live:
            raise _forbidden(message) from error
        self.messages.append(message)

    def release(self) -> list[str]:
        """Unmount the views, delete the recovery points, forget their records. Never raises."""
        problems: list[str] = []
        gone: list[str] = []
        for name in self._views:
            self._workspace.unmount(name)
        for provider, point in reversed(self._noted):
            try:
                provider.release(point, self._workspace)
                gone.append(point.name)
            except (SourceError, OSError) as error:
                problems.append(f"{error}; the next backup tries again")
        # Before the records go: they are what leads to the workspace after a crash.
        self._workspace.close()
        for _, point in self._noted:
            if point.name in gone:
                self._records.remove(point.name)
            else:
                self._records.let_go(point.name)
        return problems


def _forbidden(message: str) -> SourceError:
    return SourceError(
        message, hint="make it possible to freeze the volume, or allow live files in the policy"
    )


def _is_below(path: bytes, folder: bytes) -> bool:
    return path.startswith(folder.rstrip(b"/") + b"/")


def _original(root: SourceRoot, folder: bytes, place: bytes) -> bytes:
    """The original path, as SourceRoot has it, of a real place below the root's real folder."""
    return (root.path + b"/" + place[len(folder.rstrip(b"/")) :].lstrip(b"/")).strip(b"/")
