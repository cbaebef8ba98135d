"""Writers that die, sleep or hurry at the worst moments, beside garbage collection and rebuild."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random

import pytest

from backstay.backup.progress import Silent
from backstay.backup.workflow import run_backup
from backstay.domain.errors import RepositoryError, StorageError
from backstay.repository.layout import INDEX, MANIFESTS, PACKS
from backstay.repository.rebuild import run_rebuild
from backstay.repository.session import SLACK_SECONDS, list_sessions
from backstay.storage.interface import Buffer, Storage
from backstay.testing.crash_rig import (
    DAY,
    Machine,
    cut_power_at,
    load,
    save,
    small_sizes,
)
from backstay.testing.faulty_storage import FaultyStorage
from backstay.testing.power_cut_storage import PowerCutStorage


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    """A machine with two restore points and changes since."""
    monkeypatch.setenv("BACKSTAY_STATE", str(tmp_path / "state"))
    with small_sizes():
        machine, random = Machine.new(tmp_path), Random(1)
        for tag in "ab":
            machine.fill("x", 8, random)
            machine.fill(tag, 10, random)
            machine.backup()
        machine.fill("c", 12, random)
        yield machine


class Killed(BaseException):
    """SIGKILL: the process is gone, what it put is still in the machine's memory."""


class LosesAll(Random):
    """At the power cut nothing that was not synced has reached the disk."""

    def random(self) -> float:
        """See PowerCutStorage.cut_power."""
        return 0.0


def killed_at(disk: PowerCutStorage, number: int, act: Callable[[Storage], object]) -> bool:
    """Kill the process of `act` before its operation `number`; False where it had fewer."""
    seen = 0

    def kill(_: int, kind: str, name: str) -> None:
        nonlocal seen
        seen += 1
        if seen >= number:
            raise Killed

    try:
        act(disk.another_process(kill))
    except Killed:
        return True
    return False


@pytest.mark.parametrize(
    ("first", "second", "step"),
    [("backup", "backup", 2), ("prune", "backup", 3), ("rebuild", "backup", 3), ("backup", "rebuild", 4)],
)
def test_killed_and_power_lost_after_the_next(
    machine: Machine, tmp_path: Path, first: str, second: str, step: int
) -> None:
    """Nothing rests on what a killed process put and nobody synced."""
    acts: dict[str, Callable[[Storage], object]] = {
        "backup": machine.backup,
        "prune": lambda storage: machine.prune(lambda points: points[1:], storage),
        "rebuild": lambda storage: run_rebuild(machine.open(storage)),
    }
    saved = save(machine, tmp_path / "saved")
    for number in range(1, 1000, step):
        disk = load(machine, saved)
        if not killed_at(disk, number, acts[first]):
            return
        acts[second](disk.another_process())
        machine.storage = disk.cut_power(LosesAll(1))
        machine.check_points()
        machine.check_intact()
        machine.check_next_backup()
        machine.check_intact()


def test_killed_before_the_manifest_was_synced(machine: Machine) -> None:
    """A restore point that follows one of a killed process does not leave that one behind at a power cut."""
    names: list[str] = []

    def kill(_: int, kind: str, name: str) -> None:
        if kind == "sync" and names[-1].startswith(MANIFESTS):
            raise Killed
        names.append(name)

    disk = machine.storage
    assert isinstance(disk, PowerCutStorage)
    with pytest.raises(Killed):
        machine.backup(disk.another_process(kill))
    machine.backup(disk.another_process())
    machine.storage = disk.cut_power(LosesAll(1))
    machine.check_intact()


def die_before(machine: Machine, prefix: str, end: str = "") -> None:
    """A backup that dies just before it puts an object of this name."""

    def die(_: int, kind: str, name: str) -> None:
        if kind == "put" and name.startswith(prefix) and name.endswith(end):
            raise Killed

    assert isinstance(machine.storage, PowerCutStorage)
    with pytest.raises(Killed):
        machine.backup(machine.storage.another_process(die))


def test_died_between_manifest_and_end(machine: Machine) -> None:
    """A restore point that is there when its writer died stays, also when the session is given up."""
    die_before(machine, "sessions/", "/end")
    assert len(machine.open().points()) == 3
    machine.shift += 2 * DAY
    machine.prune(lambda points: points)
    assert len(machine.open().points()) == 3
    machine.check_next_backup()
    machine.check_garbage()


def sleeping_backup(machine: Machine, before: str, meanwhile: Callable[[], object], *, dies: bool) -> None:
    """A backup that sleeps before it puts an object under `before`, and perhaps dies at its first delete."""

    def interrupt(_: int, kind: str, name: str) -> None:
        nonlocal slept
        if kind == "put" and name.startswith(before) and not slept:
            slept = True
            meanwhile()
        if kind == "delete" and dies:
            raise Killed

    slept = False
    assert isinstance(machine.storage, PowerCutStorage)
    run_backup(machine.open(machine.storage.another_process(interrupt)), machine.request(), Silent())


@pytest.mark.parametrize("dies", [False, True])
def test_woke_up_after_it_was_given_up(machine: Machine, dies: bool) -> None:
    """A session that was given up commits nothing, and leaves nothing even if it dies when it finds out."""

    def two_days_pass() -> None:
        machine.shift += 2 * DAY
        machine.prune(lambda points: [])
        machine.shift += 2 * DAY
        machine.prune(lambda points: [])

    with pytest.raises(Killed if dies else RepositoryError):
        sleeping_backup(machine, MANIFESTS, two_days_pass, dies=dies)
    assert len(machine.open().points()) == int(dies)
    machine.prune(lambda points: points)
    assert not machine.open().points()
    machine.check_next_backup()
    machine.check_garbage()


def test_given_up_before_the_last_packs(machine: Machine) -> None:
    """A session that wakes up earlier finds out before it puts a manifest."""

    def a_day_passes() -> None:
        machine.shift += 1.1 * DAY
        machine.prune(lambda points: points)

    manifests = len(machine.open().points())
    with pytest.raises(RepositoryError, match="given up"):
        sleeping_backup(machine, PACKS, a_day_passes, dies=True)
    assert len(machine.open().points()) == manifests
    machine.check_next_backup()
    machine.check_garbage()


def test_tombstone_that_bears_an_early_time(machine: Machine) -> None:
    """A session counts as older than a tombstone of nearly its time: it may not have seen it."""

    class EarlyStones(FaultyStorage):
        """Tombstones bear the time when their bytes were written, long before they had a name."""

        def put(self, name: str, data: Sequence[Buffer]) -> None:
            """As Storage.put."""
            machine.shift -= 60 * name.startswith("tombstones/")
            super().put(name, data)
            machine.shift += 60 * name.startswith("tombstones/")

    def meanwhile() -> None:
        machine.prune(lambda points: [], EarlyStones(machine.storage, ""))

    def interrupt(_: int, kind: str, name: str) -> None:
        nonlocal pruned
        if kind == "put" and name.startswith(MANIFESTS) and not pruned:
            pruned = True
            meanwhile()

    pruned = False
    assert isinstance(machine.storage, PowerCutStorage)
    machine.backup(machine.storage.another_process(interrupt))
    assert pruned
    machine.check_points()
    machine.check_intact()
    machine.check_garbage()


@pytest.mark.parametrize("before", [PACKS, INDEX, MANIFESTS])
def test_prune_in_the_middle_of_a_backup(machine: Machine, before: str) -> None:
    """A prune beside a backup takes nothing from it, at whatever moment, whatever expires."""
    moments = 0

    def interrupt(_: int, kind: str, name: str) -> None:
        nonlocal moments
        if kind == "put" and name.startswith(before):
            moments += 1
            machine.prune(lambda points: [])

    assert isinstance(machine.storage, PowerCutStorage)
    machine.backup(machine.storage.another_process(interrupt))
    assert moments
    machine.check_points()
    machine.check_intact()
    machine.check_next_backup()
    machine.check_garbage()


def test_spoilt_index_cache(machine: Machine) -> None:
    """Nothing is deleted because of what a spoilt copy of the index says."""
    machine.prune(lambda points: points)
    machine.open().load_index()
    spoilt = 0
    for path in machine.cache.glob("*/index/*.run"):
        content = bytearray(path.read_bytes())
        packs = int.from_bytes(content[16:20], "little")
        for place in range(32 + 48 * packs, len(content), 16):
            content[place] ^= 0x10
        path.write_bytes(content)
        spoilt += 1
    assert spoilt
    for _ in range(2):
        machine.prune(lambda points: points)
    for path in machine.cache.glob("*/index/*"):
        path.unlink()
    machine.check_points()
    machine.check_intact()


def test_prune_whose_end_was_lost(machine: Machine) -> None:
    """A prune that could not even end its session does not keep the next one of its process from working."""
    for act in (
        lambda storage: machine.prune(lambda points: points, storage),
        lambda storage: run_rebuild(machine.open(storage)),
    ):
        with pytest.raises(StorageError):
            act(FaultyStorage(machine.storage, "....X"))
        assert any(not state.ended for state in list_sessions(machine.storage).values())
        machine.prune(lambda points: points[1:])
    machine.check_points()
    machine.check_garbage()


def test_forgotten_sessions_do_not_return(machine: Machine, tmp_path: Path) -> None:
    """A power cut while ended sessions are forgotten opens none of them again."""
    machine.shift += SLACK_SECONDS * 2
    saved = save(machine, tmp_path / "saved")
    for number in range(1, 1000):
        if not cut_power_at(
            machine,
            saved,
            lambda storage: machine.prune(lambda points: points, storage),
            number,
            Random(number),
        ):
            return
        states = list_sessions(machine.storage)
        known = {name.split("/")[1] for name, _, _ in saved.objects if name.startswith("sessions/")}
        assert all(state.ended for session, state in states.items() if session.hex() in known)


@pytest.mark.parametrize("goes_on", [False, True])
def test_rebuild_beside_what_was_never_committed(machine: Machine, goes_on: bool) -> None:
    """A rebuild makes no restore point of an interrupted backup that lacks blobs, or was repeated since."""
    before = {info.name for info in machine.storage.list(PACKS)}
    die_before(machine, MANIFESTS)
    if goes_on:
        machine.backup()
    else:
        contents = [info for info in machine.storage.list(PACKS) if info.name not in before]
        machine.storage.delete(max(contents, key=lambda info: info.size).name)
        for info in list(machine.storage.list(INDEX)):
            machine.storage.delete(info.name)
    points = {point.id for point in machine.open().points()}
    run_rebuild(machine.open())
    assert {point.id for point in machine.open().points()} == points
    machine.check_intact()
    machine.check_points()


def test_lost_pack_heals_after_a_rebuild(machine: Machine) -> None:
    """What a lost pack held is read and stored again by the first backup after a rebuild."""
    machine.backup()
    machine.storage.delete(next(machine.storage.list(PACKS)).name)
    run_rebuild(machine.open())
    latest = machine.backup().point
    machine.unjudged = {point.id for point in machine.open().points()} - {latest.id}
    machine.check_points()
