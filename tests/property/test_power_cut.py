"""The power goes off at any operation of a backup, a prune or a rebuild (changes of keys: tests/unit).

A sample of all crash points; bench/crash_campaign.py tries every one.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest

from backstay.domain.errors import NoRepository, RepositoryExists
from backstay.repository.layout import MANIFESTS
from backstay.repository.rebuild import run_rebuild
from backstay.repository.repository import Repository
from backstay.storage.interface import Storage
from backstay.testing.crash_rig import (
    DAY,
    STATES,
    Machine,
    check_everything,
    cut_power_at,
    load,
    run_until_cut,
    save,
    small_sizes,
)
from backstay.testing.power_cut_storage import PowerCutStorage

Act = Callable[[Machine, Storage], object]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    """A machine with an empty repository and some files."""
    monkeypatch.setenv("BACKSTAY_STATE", str(tmp_path / "state"))
    with small_sizes():
        machine = Machine.new(tmp_path)
        machine.fill("a", 20, Random(1))
        yield machine


def with_points(machine: Machine) -> None:
    """Three restore points, each with changes, and changes since."""
    random = Random(2)
    for tag in "bcd":
        machine.backup()
        machine.fill("a", 8, random)
        machine.fill(tag, 8, random)


def backup(machine: Machine, storage: Storage) -> None:
    """One backup."""
    machine.backup(storage)


def prune(machine: Machine, storage: Storage) -> None:
    """Take out the first two restore points, rewrite, condemn and delete at once."""
    machine.prune(lambda points: points[2:], storage)


def prune_with_grace(machine: Machine, storage: Storage) -> None:
    """Take out and condemn; a day later delete."""
    machine.prune(lambda points: points[2:], storage, grace_seconds=DAY)
    machine.shift += 2 * DAY
    machine.prune(lambda points: points[2:], storage, grace_seconds=DAY)


def rebuild(machine: Machine, storage: Storage) -> None:
    """Make the index anew."""
    run_rebuild(machine.open(storage))


def survives(machine: Machine, act: Act, tmp_path: Path, *, step: int) -> int:
    """Cut the power at every `step`-th operation, and check; returns the number of crash points."""
    saved = save(machine, tmp_path / "saved")
    for tried, number in enumerate(range(1, 10_000, step)):
        random = Random(number)
        done = not cut_power_at(
            machine,
            saved,
            lambda storage: act(machine, storage),
            number,
            random,
            state=STATES[tried % 3],
            older=tmp_path / "older" / "state",
            cache_kept=bool(tried % 2),
        )
        if done:
            return tried
        check_everything(machine, garbage=tried % 4 == 0)
    raise AssertionError("it never ends")


def test_first_backup(machine: Machine, tmp_path: Path) -> None:
    """A first backup that loses power is taken up where it was."""
    assert survives(machine, backup, tmp_path, step=3) > 10


def test_incremental_backup(machine: Machine, tmp_path: Path) -> None:
    """So is a later one, whatever becomes of the scan state."""
    machine.backup()
    save(machine, tmp_path / "older")
    with_points(machine)
    assert survives(machine, backup, tmp_path, step=3) > 10


def test_resumed_backup(machine: Machine, tmp_path: Path) -> None:
    """A backup that goes on from an interrupted one loses power, too."""
    with_points(machine)
    saved = save(machine, tmp_path / "before")
    assert cut_power_at(machine, saved, machine.backup, 20, Random(1))
    machine.fill("e", 8, Random(3))
    assert survives(machine, backup, tmp_path, step=4) > 5


@pytest.mark.parametrize("act", [prune, prune_with_grace])
def test_prune(machine: Machine, tmp_path: Path, act: Act) -> None:
    """A prune that loses power has deleted nothing that is needed, and the next one ends its work."""
    save(machine, tmp_path / "older")
    with_points(machine)
    assert survives(machine, act, tmp_path, step=3) > 5


def test_rebuild(machine: Machine, tmp_path: Path) -> None:
    """A rebuild that loses power leaves the old index or the new one."""
    with_points(machine)
    assert survives(machine, rebuild, tmp_path, step=2) > 5


def test_rebuild_of_lost_manifests(machine: Machine, tmp_path: Path) -> None:
    """A rebuild that loses power can be repeated until every lost manifest is there again."""
    with_points(machine)
    before = {point.manifest.sequence: machine.committed[point.id] for point in machine.open().points()}
    for folder in ("index/", MANIFESTS):
        for info in list(machine.storage.list(folder)):
            machine.storage.delete(info.name)
    machine.storage.sync()
    machine.committed.clear()
    saved = save(machine, tmp_path / "saved")
    number = 0
    while cut_power_at(
        machine, saved, lambda storage: rebuild(machine, storage), number := number + 1, Random(number)
    ):
        rebuild(machine, machine.storage)
        points = machine.open().points()
        assert [point.manifest.sequence for point in points] == sorted(before)
        machine.committed = {point.id: before[point.manifest.sequence] for point in points}
        machine.check_points()
        machine.check_intact()
    assert number > 5


def test_creation(tmp_path: Path) -> None:
    """A repository that lost power while it was made is there, can be made, or it is said what is there."""
    for number in range(1, 100):
        disk = PowerCutStorage()
        cut = run_until_cut(disk, number, lambda storage: Repository.create(storage, "one", cache=tmp_path))
        after = disk.cut_power(Random(number))
        try:
            Repository.open(after, "one", cache=tmp_path)
        except NoRepository:
            assert cut
            try:
                Repository.create(after, "two", cache=tmp_path)
            except RepositoryExists as error:
                assert "interrupted" in str(error)
        if not cut:
            return


def test_state_is_never_ahead(machine: Machine, tmp_path: Path) -> None:
    """Whatever the scan state knows is in the repository, even if the disk lost all that was not synced."""

    class Nothing(Random):
        def random(self) -> float:
            return 0.0

    with_points(machine)
    saved = save(machine, tmp_path / "saved")
    for number in range(1, 10_000, 3):
        disk = load(machine, saved)
        if not run_until_cut(disk, number, machine.backup):
            return
        machine.storage = disk.cut_power(Nothing(1))
        machine.check_next_backup()
        machine.check_intact()
