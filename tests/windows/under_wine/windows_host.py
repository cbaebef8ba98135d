"""What the engine asks of a Windows machine."""

import ctypes
import subprocess
import sys
from pathlib import Path

import pytest

from backstay.backup.freeze import freeze
from backstay.backup.source import SourceRoot, choose_roots
from backstay.domain.entry import Grade
from backstay.domain.errors import SourceError
from backstay.recovery_points.registry import read_mounts
from backstay.recovery_points.vss import Vss
from backstay.system import host
from backstay.system.calls import os
from backstay.testing.vss_stand_in import StandInVss

WINE = hasattr(ctypes.WinDLL("ntdll"), "wine_get_version")


def test_one_lock_at_a_time(tmp_path: Path) -> None:
    """A second lock on a file is refused, its content can be read all the same, and closing lets go."""
    (tmp_path / "file").write_bytes(b"read me")
    first, second = (os.open(str(tmp_path / "file"), os.O_RDWR) for _ in range(2))
    host.lock_file(first)
    with pytest.raises(BlockingIOError):
        host.lock_file(second)
    assert (tmp_path / "file").read_bytes() == b"read me"
    os.close(first)
    host.lock_file(second)
    os.close(second)


def test_tells_the_living_from_the_dead() -> None:
    """Asking for a process does not end it."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    assert host.process_is_alive(child.pid)
    assert child.poll() is None
    child.communicate(b"\n")
    assert child.returncode == 0
    assert not host.process_is_alive(0x7FFFFFF0)


def test_finds_the_volumes(tmp_path: Path) -> None:
    """A drive is a mount, which holds its folders."""
    place = os.path.abspath(os.fsencode(str(tmp_path)))
    mounts = read_mounts()
    mount = mounts.holding(place)
    assert mount is not None
    assert (mount.point, mount.root, mount.is_read_only) == (b"/C:", b"/", False)
    assert mount.inner(place) == place.removeprefix(b"/C:/")
    assert mounts.holding(place + b"/gone") is None


def test_reads_through_a_recovery_point(tmp_path: Path) -> None:
    """A root on a volume that VSS froze is read by the shadow copy's device, and graded so."""
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "file").write_bytes(b"read me")
    machine = StandInVss(lambda volume, id: Path("C:\\"), lambda id: None)
    provider = Vss(machine, lambda device: b"/C:")
    roots, _ = choose_roots([os.fsencode(str(tmp_path / "set")), os.fsencode(str(tmp_path / "set" / "file"))])
    frozen = freeze(roots, allow_live=False, records=tmp_path / "records", providers=[provider])
    (root,) = frozen.roots
    assert root.grade == Grade.SNAPSHOT
    assert root.actual.startswith(b"/backstay-")
    with os.scandir(root.actual) as entries:
        assert [entry.name for entry in entries] == ["file"]
    assert os.stat(root.actual + b"/file").st_size == 7
    assert len(list((tmp_path / "records").glob("*.point"))) == 1
    assert frozen.release() == []
    assert machine.shadows == {}
    assert list((tmp_path / "records").iterdir()) == []
    assert not os.path.exists(root.actual)


def test_tells_why_there_is_no_recovery_point(tmp_path: Path) -> None:
    """Where VSS is not there, or has no writers, the step says so, and the policy may forbid to go on."""
    roots, _ = choose_roots([os.fsencode(str(tmp_path))])
    if not WINE:
        pytest.skip("a real Windows has VSS")
    frozen = freeze(roots, allow_live=True, records=tmp_path / "records")
    assert any("no service VSS" in message for message in frozen.messages)
    with pytest.raises(SourceError, match="no service VSS"):
        freeze(roots, allow_live=False, records=tmp_path / "records")


def test_reads_live_where_nothing_freezes(tmp_path: Path) -> None:
    """Without a recovery point the files are read live, which the step says."""
    roots, missing = choose_roots([os.fsencode(str(tmp_path)), b"C:\\none"])
    assert [path for path, _ in missing] == [b"/C:/none"]
    frozen = freeze(roots, allow_live=True, records=tmp_path / "records", providers=())
    assert frozen.roots == [SourceRoot(roots[0].path, roots[0].actual, Grade.STABLE)]
    assert any(message.startswith("'C:\\tests\\") and "read live" in message for message in frozen.messages)
    assert frozen.release() == []
