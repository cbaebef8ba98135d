"""What is remembered of the last scan never leads to a restore point that lacks something."""

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import pytest

from backstay.backup import listing, transmit
from backstay.backup.progress import Silent
from backstay.backup.workflow import run_backup
from backstay.domain.content_rule import ContentRule
from backstay.domain.errors import BackstayError
from backstay.repository.layout import MANIFESTS, digest_of
from backstay.repository.splitting import ends_segment
from backstay.repository.verify import run_verify
from backstay.testing.crash_rig import (
    Machine,
    after_cut,
    bring_back,
    disk_of,
    load,
    run_until_cut,
    save,
    small_sizes,
)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    """A machine with some files, not backed up yet."""
    monkeypatch.setenv("BACKSTAY_STATE", str(tmp_path / "state"))
    with small_sizes():
        machine = Machine.new(tmp_path)
        machine.fill("a", 25, Random(1))
        yield machine


def keep_latest(machine: Machine) -> None:
    """Take out all restore points but the latest, and delete what only they needed."""
    machine.prune(lambda points: points[-1:])


def keep_none(machine: Machine) -> None:
    """Take out all restore points, and delete everything."""
    machine.prune(lambda points: [])


def test_crash_after_all_points_expired(machine: Machine, tmp_path: Path) -> None:
    """A backup that crashed while it checked an outdated state leaves nothing unchecked to the next one."""
    machine.backup()
    keep_none(machine)
    before = save(machine, tmp_path / "saved")
    for number in range(3, 1000, 9):
        disk = load(machine, before)
        if not run_until_cut(disk, number, machine.backup):
            return
        after_cut(machine, disk, Random(number))
        machine.check_next_backup()
        machine.check_intact()


def test_repository_put_back_to_an_earlier_copy(machine: Machine, tmp_path: Path) -> None:
    """A state that is newer than the repository is not believed; the point that it remembers is missed."""
    machine.backup()
    earlier = save(machine, tmp_path / "earlier")
    machine.fill("b", 25, Random(2))
    now = save(machine, tmp_path / "now")
    for number in range(5, 1000, 12):
        disk = load(machine, now)
        whole = not run_until_cut(disk, number, machine.backup)
        if not whole:
            after_cut(machine, disk, Random(number))
        machine.storage = disk_of(earlier.objects, machine.clock)
        machine.committed = dict(earlier.committed)
        machine.check_next_backup()
        if whole:
            [missed] = run_verify(machine.open(), data_percent=100).damages
            assert missed.name.startswith(MANIFESTS)
            assert digest_of(missed.name) not in machine.committed
            return
        machine.check_intact()


def test_state_put_back_to_an_earlier_copy(machine: Machine, tmp_path: Path) -> None:
    """A state that is older than the repository rests on a restore point that has been taken out since."""
    machine.backup()
    save(machine, tmp_path / "earlier")
    machine.fill("b", 25, Random(2))
    machine.backup()
    (machine.source / "d1" / "a1").unlink()
    machine.backup()
    keep_latest(machine)
    bring_back(machine.state, tmp_path / "earlier" / "state")
    machine.check_next_backup()
    machine.check_intact()


def test_folder_of_a_long_folder_goes_and_returns(machine: Machine) -> None:
    """A folder that returns unchanged after its blobs were collected is stored again, wherever it lies."""
    long = machine.source / "long"
    long.mkdir()
    names = [f"n{number:05d}" for number in range(3000)]
    ends = [place for place, name in enumerate(names) if ends_segment(name.encode())]
    wandering = {names[ends[0]], names[ends[1] + 1], names[ends[2] - 1], names[0], names[-1]}
    for name in names:
        if name in wandering:
            (long / name).mkdir()
            (long / name / "file").write_bytes(Random(name).randbytes(3000))
        else:
            (long / name).touch()
    machine.backup()
    away = machine.folder / "away"
    away.mkdir()
    for name in wandering:
        os.rename(long / name, away / name)
    machine.backup()
    keep_latest(machine)
    for name in wandering:
        os.rename(away / name, long / name)
    machine.check_next_backup()
    machine.check_intact()


def test_rule_excludes_and_includes_again(machine: Machine) -> None:
    """What a content rule left out, and was collected meanwhile, is stored again once it is in the set."""
    long = machine.source / "long"
    long.mkdir()
    for number in range(3000):
        (long / f"n{number:05d}").write_bytes(b"%d" % number * 200)
    machine.backup()
    rule = ContentRule.from_patterns(["n02*", "n01*", "d1"])
    request = machine.request()
    excluding = type(request)(request.paths, rule=rule, file_server=request.file_server)
    point = run_backup(machine.open(), excluding, Silent()).point
    machine.prune(lambda points: points[-1:])
    machine.unjudged.add(point.id)
    machine.check_next_backup()
    machine.check_intact()


def test_unlisted_folder_comes_back(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that could not be listed, and whose content was collected meanwhile, is read again."""
    deep = machine.source / "d1" / "deep"
    deep.mkdir()
    (deep / "file").write_bytes(bytes(range(256)) * 20)
    machine.backup()
    keep_none(machine)
    list_directory = listing.list_directory

    def failing(dir_fd: int, *others: object) -> object:
        if os.readlink(f"/proc/self/fd/{dir_fd}").endswith("/d1"):
            raise OSError(errno.EACCES, "Permission denied")
        return list_directory(dir_fd, *others)

    with monkeypatch.context() as context:
        context.setattr(listing, "list_directory", failing)
        outcome = run_backup(machine.open(), machine.request(), Silent())
    assert outcome.problems
    machine.check_intact()
    keep_latest(machine)
    machine.unjudged.add(outcome.point.id)
    machine.check_next_backup()
    machine.check_intact()


@contextmanager
def _unreadable(name: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A disk that fails to read files of this name: root may read whatever a disk gives."""
    open_regular = transmit.open_regular

    def failing(dir_fd: int, wanted: bytes) -> int:
        if wanted == os.fsencode(name):
            raise OSError(errno.EIO, "Input/output error")
        return open_regular(dir_fd, wanted)

    with monkeypatch.context() as context:
        context.setattr(transmit, "open_regular", failing)
        yield


def test_lost_version_is_no_stand_in(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The previous version of an unreadable file stands in for it only if it is still in the repository."""
    file = machine.source / "d1" / "file"
    file.write_bytes(Random(3).randbytes(5000))
    machine.backup()
    keep_none(machine)
    file.write_bytes(Random(4).randbytes(5000))

    with _unreadable(file.name, monkeypatch):
        outcome = run_backup(machine.open(), machine.request(), Silent())
    assert [problem.path for problem in outcome.problems] == [os.fsencode(file)]
    machine.check_intact()


def test_kept_version_stands_in(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The previous version of an unreadable file stands in for it where the state is checked blob by blob."""
    file = machine.source / "d1" / "file"
    content = Random(3).randbytes(5000)
    file.write_bytes(content)
    machine.backup()
    (machine.source / "d2" / "copy").write_bytes(content)
    other = type(machine.request())(
        [os.fsencode(machine.source / "d2")], backup_set="other", file_server="server"
    )
    kept = run_backup(machine.open(), other, Silent()).point
    machine.prune(lambda points: [point for point in points if point.id == kept.id])
    file.write_bytes(Random(4).randbytes(5000))

    with _unreadable(file.name, monkeypatch):
        outcome = run_backup(machine.open(), machine.request(), Silent())
    assert [problem.path for problem in outcome.problems] == [os.fsencode(file)]
    machine.check_intact()
    seen = machine.read(outcome.point)
    assert seen[b"d1/file"].content == machine.read(kept, machine.source / "d2")[b"copy"].content


@pytest.mark.parametrize("where", [0.2, 0.5, 0.8, 0.99])
def test_damaged_state(machine: Machine, where: float) -> None:
    """A scan state that the disk damaged costs a failed backup at worst; then it is made anew."""
    machine.fill("b", 200, Random(5))
    machine.backup()
    (path,) = machine.state.glob("*/*.db")
    with sqlite3.connect(path) as connection:
        connection.execute("pragma wal_checkpoint(truncate)")
    connection.close()
    damaged = bytearray(path.read_bytes())
    place = int(len(damaged) * where) // 4096 * 4096
    damaged[place : place + 4096] = b"\xa5" * 4096
    path.write_bytes(damaged)
    try:
        machine.backup()
    except BackstayError as error:
        assert error.hint
        machine.backup()
    machine.check_points()
    machine.check_intact()


def test_full_state_folder(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A state folder without room fails the backup in words; once there is room, the next one is whole."""
    machine.backup()
    connect = sqlite3.connect

    def small(*arguments: object, **options: object) -> sqlite3.Connection:
        connection = connect(*arguments, **options)
        connection.execute("pragma max_page_count = 12")
        return connection

    for number in range(1500):
        (machine.source / Random(number).randbytes(40).hex()).touch()
    with monkeypatch.context() as context:
        context.setattr(sqlite3, "connect", small)
        with pytest.raises(BackstayError) as caught:
            machine.backup()
    assert "scan state" in str(caught.value)
    machine.check_next_backup()
    machine.check_intact()
