"""A machine to crash: source, disk that can lose power, scan state, index cache; and what must hold after.

Sizes are made small, so that a few dozen files fill many packs, index runs and
checkpoints. Files made a moment ago count as settled, so that a second backup takes over
what did not change; and nothing is done about mapped files, as this waits for the whole disk.
"""

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from backstay.backup import capture
from backstay.backup.progress import Silent
from backstay.backup.workflow import BackupOutcome, BackupRequest, run_backup
from backstay.domain.errors import DamagedObject
from backstay.repository import packer, prune, prune_plan, rebuild, repack, writing_session
from backstay.repository.keys import Secrets
from backstay.repository.layout import PACKS, digest_of
from backstay.repository.manifest import RestorePoint
from backstay.repository.pack import PREFIX, read_trailer
from backstay.repository.prune import PruneOutcome, run_prune
from backstay.repository.repository import Repository
from backstay.repository.tombstone import read_tombstones
from backstay.repository.verify import run_verify
from backstay.storage.interface import Storage
from backstay.testing.power_cut_storage import PowerCut, PowerCutStorage
from backstay.testing.witness import Seen, needed_blobs, seen_in_folder, seen_in_point

DAY = 24 * 3600.0

_SMALL: list[tuple[Any, str, Any]] = [
    (capture, "_GRANULARITY_NS", -3600 * 10**9),
    (capture, "sync_filesystem", lambda path: None),
    (packer, "FRAME_SIZE", 2 << 10),
    (packer, "PACK_SIZE", 8 << 10),
    (repack, "FRAME_SIZE", 2 << 10),
    (repack, "PACK_SIZE", 8 << 10),
    (writing_session, "RUN_ENTRIES", 6),
    (writing_session, "CHECKPOINT_SECONDS", 0.0),
    (rebuild, "RUN_ENTRIES", 6),
    (prune_plan, "SMALL_PACK", 1 << 10),
    (prune, "_MANY_RUNS", 6),
]


@contextmanager
def small_sizes() -> Iterator[None]:
    """Frames, packs, runs and checkpoints of a size that small data fills."""
    before = [getattr(module, name) for module, name, _ in _SMALL]
    for module, name, value in _SMALL:
        setattr(module, name, value)
    try:
        yield
    finally:
        for (module, name, _), value in zip(_SMALL, before, strict=True):
            setattr(module, name, value)


class Machine:
    """A file server with its repository, in a folder.

    Args:
        folder: gets the source, the scan state and the index cache. BACKSTAY_STATE must name
            `folder / "state"`.

    Attributes:
        committed: what each restore point that was reported must read as, by id.
        expired: those among them that were chosen to be taken out: they may be gone.
        unjudged: restore points of which only verify can judge.
        shift: seconds by which the storage's clock is ahead.
    """

    def __init__(self, folder: Path, secrets: Secrets, storage: Storage) -> None:
        self.folder = folder
        self.source = folder / "source"
        self.state = folder / "state"
        self.cache = folder / "cache"
        self.source.mkdir(exist_ok=True, parents=True)
        self.secrets = secrets
        self.storage = storage
        self.committed: dict[bytes, dict[bytes, Seen]] = {}
        self.expired: set[bytes] = set()
        self.unjudged: set[bytes] = set()
        self.shift = 0.0

    @classmethod
    def new(cls, folder: Path) -> "Machine":
        """A machine with an empty source and a new repository."""
        objects, secrets = new_repository()
        machine = cls(folder, secrets, PowerCutStorage())
        machine.storage = disk_of(objects, machine.clock)
        return machine

    def clock(self) -> float:
        """The storage's clock."""
        return time.time() + self.shift

    def open(self, storage: Storage | None = None) -> Repository:
        """The repository, opened afresh."""
        return Repository.open_with(storage or self.storage, self.secrets, cache=self.cache)

    def request(self) -> BackupRequest:
        """A backup of the whole source."""
        return BackupRequest([os.fsencode(self.source)], file_server="server")

    def backup(self, storage: Storage | None = None) -> BackupOutcome:
        """Back up, and note what the restore point must read as."""
        before = seen_in_folder(os.fsencode(self.source))
        outcome = run_backup(self.open(storage), self.request(), Silent())
        self.committed[outcome.point.id] = before
        return outcome

    def fill(self, tag: str, files: int, random: Random, *, folders: int = 5) -> None:
        """Add files of random content, spread over some folders."""
        for number in range(files):
            path = self.source / f"d{number % folders}" / f"{tag}{number}"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(random.randbytes(random.choice((100, 700, 3000, 5000))))

    def prune(
        self,
        keep: Callable[[list[RestorePoint]], list[RestorePoint]],
        storage: Storage | None = None,
        **options: Any,
    ) -> PruneOutcome:
        """Prune with no grace; `keep` chooses what stays. What is taken out is not expected any more."""

        def expire(points: list[RestorePoint]) -> list[RestorePoint]:
            kept = {point.id for point in keep(points)}
            gone = [point for point in points if point.id not in kept]
            self.expired.update(point.id for point in gone)
            return gone

        return run_prune(self.open(storage), expire, **{"grace_seconds": 0, "most_unused": 0.0, **options})

    def read(self, point: RestorePoint, folder: Path | None = None) -> dict[bytes, Seen]:
        """What a restore point says of the source, or of another folder."""
        return seen_in_point(self.open(), point, os.fsencode(folder or self.source))

    def check_points(self) -> None:
        """Every reported restore point that was not taken out is there; all that are there read exactly.

        One that was stored but not reported was made of the source as it is now, and has to stay as well.
        """
        repository = self.open()
        points = {point.id: point for point in repository.points()}
        assert not repository.damaged, [str(damage) for damage in repository.damaged]
        missing = self.committed.keys() - self.expired - points.keys()
        assert not missing, f"{len(missing)} committed restore points are gone"
        for point in points.values():
            if point.id not in self.unjudged:
                if point.id not in self.committed:
                    self.committed[point.id] = seen_in_folder(os.fsencode(self.source))
                assert_same(self.read(point), self.committed[point.id])

    def check_intact(self, *, data_percent: float = 100) -> None:
        """Verify finds nothing wrong."""
        outcome = run_verify(self.open(), data_percent=data_percent)
        assert outcome.intact, [str(damage) for damage in outcome.damages]

    def stored_blobs(self) -> set[bytes]:
        """Prefixes of the blobs in all whole packs that are not condemned."""
        key = self.secrets.catalogue_key
        condemned = {pack for stored in read_tombstones(self.storage, key) for pack in stored.tombstone.packs}
        return {
            prefix
            for info in list(self.storage.list(PACKS))
            if digest_of(info.name) not in condemned
            for prefix in self.blobs_of(info.name)
        }

    def blobs_of(self, name: str) -> list[bytes]:
        """Prefixes of the blobs in a pack; none where it is damaged."""
        try:
            trailer = read_trailer(self.storage, name, self.secrets.catalogue_key)
        except DamagedObject:
            return []
        return [blob.id[:PREFIX] for blob in trailer.blobs()]

    def check_next_backup(self) -> None:
        """The next backup succeeds, its point is exact, and nothing that is stored is sent again."""
        before = self.stored_blobs()
        packs = {info.name for info in self.storage.list(PACKS)}
        self.backup()
        new = [info.name for info in self.storage.list(PACKS) if info.name not in packs]
        again = [prefix for name in new for prefix in self.blobs_of(name) if prefix in before]
        assert not again, f"{len(again)} blobs were sent again"
        self.check_points()

    def check_garbage(self) -> None:
        """Prunes converge: they end with each needed blob stored exactly once, and nothing else."""
        self.shift += 2 * DAY
        for _ in range(3):
            self.prune(lambda points: points)
        self.check_points()
        repository = self.open()
        needed = needed_blobs(repository, repository.points())
        stored = [prefix for info in list(self.storage.list(PACKS)) for prefix in self.blobs_of(info.name)]
        assert needed - set(stored) == set(), "needed blobs were deleted"
        assert set(stored) - needed == set(), f"{len(set(stored) - needed)} unneeded blobs remain"
        assert len(stored) == len(set(stored)), "blobs are stored twice"
        assert list(self.storage.list("tombstones/")) == []
        self.check_intact()


def assert_same(found: dict[bytes, Seen], expected: dict[bytes, Seen]) -> None:
    """Fails naming the first differences."""
    differing = [
        (path, found.get(path), expected.get(path))
        for path in sorted(found.keys() | expected.keys())
        if found.get(path) != expected.get(path)
    ]
    assert not differing, differing[:3]


@cache
def new_repository() -> tuple[list[tuple[str, bytes, float]], Secrets]:
    """Deriving a key from a passphrase takes long, on purpose: once is enough."""
    storage = PowerCutStorage()
    with TemporaryDirectory() as folder:
        repository, _ = Repository.create(storage, "passphrase", cache=Path(folder))
    objects = [(info.name, storage.get(info.name), info.modified) for info in storage.list("")]
    return objects, repository.secrets


class Saved(NamedTuple):
    """A machine's disk and files at a moment."""

    objects: list[tuple[str, bytes, float]]
    files: Path
    committed: dict[bytes, dict[bytes, Seen]]
    expired: set[bytes]
    shift: float


def save(machine: Machine, to: Path) -> Saved:
    """Remember everything; the source stays where it is."""
    for part in ("state", "cache"):
        if (machine.folder / part).exists():
            shutil.copytree(machine.folder / part, to / part)
    objects = [
        (info.name, machine.storage.get(info.name), info.modified) for info in machine.storage.list("")
    ]
    return Saved(objects, to, dict(machine.committed), set(machine.expired), machine.shift)


def load(machine: Machine, saved: Saved) -> PowerCutStorage:
    """Make everything as it was, on a disk whose power can be cut."""
    bring_back(machine.state, saved.files / "state")
    bring_back(machine.cache, saved.files / "cache")
    machine.committed, machine.expired = dict(saved.committed), set(saved.expired)
    machine.shift = saved.shift
    disk = disk_of(saved.objects, machine.clock)
    machine.storage = disk
    return disk


def bring_back(folder: Path, saved: Path) -> None:
    """Put a copy of `saved` in the place of `folder`; nothing where there is none."""
    shutil.rmtree(folder, ignore_errors=True)
    if saved.exists():
        shutil.copytree(saved, folder)


def disk_of(objects: list[tuple[str, bytes, float]], clock: Callable[[], float]) -> PowerCutStorage:
    """A disk with these objects, all durable, whose later objects get their time from `clock`."""
    filling = iter([modified for _, _, modified in objects])
    disk = PowerCutStorage(clock=lambda: next(filling))
    for name, whole, _ in objects:
        disk.put(name, [whole])
    disk.sync()
    disk._clock = clock
    return disk


class CutAt:
    """Cuts the power before the operation of this number (counted from 1 where it is armed)."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.seen = 0

    def __call__(self, number: int, kind: str, name: str) -> None:
        """As PowerCutStorage's on_operation."""
        self.seen += 1
        if self.seen == self.number:
            raise PowerCut


def run_until_cut(disk: PowerCutStorage, number: int, act: Callable[[Storage], object]) -> bool:
    """Run `act` with the power going off before its operation `number`; False where it had fewer."""
    try:
        act(disk.another_process(CutAt(number)))
    except PowerCut:
        return True
    return False


def after_cut(machine: Machine, disk: PowerCutStorage, random: Random, *, lying: bool = False) -> None:
    """The machine boots again."""
    after = disk.cut_power(random, lying=lying)
    after._clock = machine.clock
    machine.storage = after


KEPT, LOST, STALE = STATES = ("kept", "lost", "stale")
"""What may become of the scan state at a power cut; a stale one is put back from an older copy."""


def cut_power_at(
    machine: Machine,
    saved: Saved,
    act: Callable[[Storage], object],
    number: int,
    random: Random,
    *,
    state: str = KEPT,
    older: Path | None = None,
    cache_kept: bool = True,
) -> bool:
    """Let the power go off before operation `number` of `act`, and boot; False where it had fewer.

    Args:
        random: chooses which of the changes that were not synced reached the disk.
        state: what becomes of the scan state.
        older: the copy of the scan state for STALE.
        cache_kept: whether the index cache survives.
    """
    disk = load(machine, saved)
    if not run_until_cut(disk, number, act):
        return False
    after_cut(machine, disk, random)
    if state == LOST:
        shutil.rmtree(machine.state, ignore_errors=True)
    elif state == STALE and older is not None:
        bring_back(machine.state, older)
    if not cache_kept:
        shutil.rmtree(machine.cache, ignore_errors=True)
    return True


def check_everything(machine: Machine, *, garbage: bool = True, resent: bool = True) -> None:
    """All that must hold after a crash, the next backup and the next prunes included."""
    machine.check_points()
    machine.check_intact()
    if resent:
        machine.check_next_backup()
    else:
        machine.backup()
        machine.check_points()
    machine.check_intact()
    if garbage:
        machine.check_garbage()
