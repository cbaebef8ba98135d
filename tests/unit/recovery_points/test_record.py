"""Records of recovery points: made before them, and found again by whoever comes after a crash."""

import os
import signal
import time
from pathlib import Path

import pytest

from backstay.domain.errors import SourceError
from backstay.recovery_points.provider import RecoveryPoint
from backstay.recovery_points.record import Records

POINT = RecoveryPoint("btrfs", "backstay-1-0", "a volume", b"/run/\xff", {"filesystem": b"\0\xff"})


def write_and_die(folder: Path, name: str = "1") -> None:
    """Another process writes the record and is killed."""
    child = os.fork()
    if child == 0:
        Records(folder).write(name, POINT)
        os.kill(os.getpid(), signal.SIGKILL)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL


def abandoned(folder: Path) -> list[tuple[str, RecoveryPoint]]:
    """What a sweeper finds."""
    with Records(folder).abandoned() as found:
        return [(record.workspace, record.point) for record in found]


def test_records_outlive_their_process(tmp_path: Path) -> None:
    """What a killed process noted is found, with every byte of it, until it is removed."""
    folder = tmp_path / "deep" / "records"
    write_and_die(folder)
    assert abandoned(folder) == [("1", POINT)]
    assert abandoned(folder) == [("1", POINT)]
    records = Records(folder)
    with records.abandoned() as found:
        records.remove(found[0].point.name)
    assert abandoned(folder) == []
    assert list(folder.iterdir()) == []


def test_living_processes_keep_their_records(tmp_path: Path) -> None:
    """A record is not abandoned while its writer lives, in this process or another."""
    records = Records(tmp_path)
    records.write("1", POINT)
    assert abandoned(tmp_path) == []
    records.let_go(POINT.name)
    assert len(abandoned(tmp_path)) == 1


def test_two_sweepers_never_share(tmp_path: Path) -> None:
    """While one works on a record, another does not see it."""
    write_and_die(tmp_path)
    with Records(tmp_path).abandoned() as found:
        assert len(found) == 1
        assert abandoned(tmp_path) == []
    assert len(abandoned(tmp_path)) == 1


def test_nothing_there() -> None:
    """Without a folder there are no records, and none is made by looking."""
    folder = Path("/nonexistent/records")
    assert abandoned(folder) == []
    assert not folder.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"{}",
        b"[1]",
        b"\xff",
        b'{"workspace":"../x","process":1,"point":{"provider":"p","name":"n","volume":"v","view":"","identity":{}}}',
    ],
)
def test_other_files_are_left_alone(tmp_path: Path, content: bytes) -> None:
    """A file that is not a record, or leads out of the workspaces, is neither believed nor deleted."""
    file = tmp_path / "x.point"
    file.write_bytes(content)
    assert abandoned(tmp_path) == []
    assert file.read_bytes() == content


def test_unfinished_records_go_in_time(tmp_path: Path) -> None:
    """One that was cut off before it had its name is removed, but not from under its writer."""
    young, old = tmp_path / "young.new", tmp_path / "old.new"
    young.touch()
    old.touch()
    os.utime(old, (0, time.time() - 7200))
    assert abandoned(tmp_path) == []
    assert young.exists()
    assert not old.exists()


def test_what_cannot_be_noted_is_an_error(tmp_path: Path) -> None:
    """Where the folder cannot be made, or the name is taken, the caller hears of it and must not go on."""
    (tmp_path / "file").touch()
    with pytest.raises(SourceError, match="cannot be recorded"):
        Records(tmp_path / "file" / "records").write("1", POINT)
    (tmp_path / f"{POINT.name}.new").touch()
    with pytest.raises(SourceError, match="cannot be recorded"):
        Records(tmp_path).write("1", POINT)
