"""A storage that fails by script: what was asked fails in words or succeeds, and nothing is lost."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random

import pytest

from backstay.domain.errors import BackstayError, StorageFull
from backstay.repository.layout import MANIFESTS
from backstay.repository.rebuild import run_rebuild
from backstay.storage.interface import Buffer, Storage
from backstay.storage.retrying import RetryingStorage
from backstay.testing.crash_rig import Machine, Saved, load, save, small_sizes
from backstay.testing.faulty_storage import FaultyStorage

LETTERS = "ELSFX"
Act = Callable[[Machine, Storage], object]


def backup(machine: Machine, storage: Storage) -> None:
    """An incremental backup with much that is new."""
    machine.backup(storage)


def prune(machine: Machine, storage: Storage) -> None:
    """Take out the first restore point, rewrite, delete."""
    machine.prune(lambda points: points[1:], storage)


def rebuild(machine: Machine, storage: Storage) -> None:
    """Make the index anew, and a lost manifest."""
    run_rebuild(machine.open(storage))


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    """A machine with three restore points, and changes since."""
    monkeypatch.setenv("BACKSTAY_STATE", str(tmp_path / "state"))
    with small_sizes():
        machine, random = Machine.new(tmp_path), Random(1)
        for tag in "abc":
            machine.fill("a", 10, random)
            machine.fill(tag, 8, random)
            machine.backup()
        machine.fill("d", 15, random)
        yield machine


def fail_at(machine: Machine, saved: Saved, act: Act, script: str) -> FaultyStorage:
    """Let `act` meet the script, on the machine as it was saved."""
    faulty = FaultyStorage(load(machine, saved), script, delay=0)
    try:
        act(machine, faulty)
    except BackstayError as error:
        assert str(error)
    return faulty


def operations_of(machine: Machine, saved: Saved, act: Act) -> int:
    """How many operations it takes where none fails."""
    return fail_at(machine, saved, act, "").counts.total()


@pytest.mark.parametrize("act", [backup, prune, rebuild])
def test_one_fault_anywhere(machine: Machine, tmp_path: Path, act: Act) -> None:
    """Wherever an operation fails, in whichever way: points stay exact, next backup and prunes succeed.

    One place in eleven is tried here; bench/crash_campaign.py tries all.
    """
    saved = save(machine, tmp_path / "saved")
    for place in range(0, operations_of(machine, saved, act), 11):
        fail_at(machine, saved, act, "." * place + LETTERS[place % len(LETTERS)])
        machine.check_points()
        machine.check_next_backup()
        machine.check_intact(data_percent=0)
        if place % 3 == 0:
            machine.check_garbage()


class PacksFail(FaultyStorage):
    """Only puts of packs take a letter."""

    def put(self, name: str, data: Sequence[Buffer]) -> None:
        """As Storage.put."""
        if name.startswith("packs/"):
            super().put(name, data)
        else:
            self.inner.put(name, data)


def test_a_pack_is_lost(machine: Machine, tmp_path: Path) -> None:
    """Where one pack could not be stored, no later backup believes that its blobs are there."""
    saved = save(machine, tmp_path / "saved")
    for place in range(1000):
        faulty = PacksFail(load(machine, saved), "." * place + "F", operations=("put",))
        try:
            machine.backup(faulty)
        except StorageFull:
            machine.check_next_backup()
            machine.check_intact()
            continue
        assert place > 4
        return


@pytest.mark.parametrize("script", ["(.E)", "(.L)", "(..S)", "(w)"])
def test_flaky_storage(machine: Machine, script: str) -> None:
    """With operations that are tried again, a storage that fails every second time is as good as any."""
    faulty = FaultyStorage(machine.storage, script, delay=0)
    storage = RetryingStorage(faulty, sleep=lambda seconds: None)
    machine.backup(storage)
    machine.prune(lambda points: points[2:], storage)
    run_rebuild(machine.open(storage))
    machine.check_next_backup()
    machine.check_garbage()
    assert faulty.faults


def test_disk_is_full_for_long(machine: Machine) -> None:
    """While the disk is full backups fail; once there is room all goes on, and nothing is sent twice."""
    for room in (0, 3, 6, 9):
        with pytest.raises(StorageFull):
            machine.backup(FaultyStorage(machine.storage, "." * room + "(F)", operations=("put",)))
        machine.check_points()
    machine.check_next_backup()
    machine.check_garbage()


def test_rebuild_of_all_that_can_be_lost(machine: Machine) -> None:
    """Without index and manifests, packs alone give back every restore point, and backups go on."""
    before = {point.manifest.sequence: machine.committed[point.id] for point in machine.open().points()}
    for folder in (MANIFESTS, "index/"):
        for info in list(machine.storage.list(folder)):
            machine.storage.delete(info.name)
    outcome = run_rebuild(machine.open())
    assert [point.manifest.sequence for point in outcome.points] == sorted(before)
    machine.committed = {point.id: before[point.manifest.sequence] for point in outcome.points}
    machine.check_points()
    machine.check_next_backup()
    machine.check_intact()
