"""An incremental backup is never wrong because of what times say, or do not say."""

import mmap
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest

from backstay.backup import capture
from backstay.backup.progress import Silent
from backstay.backup.workflow import BackupOutcome, run_backup
from backstay.system.host import sync_filesystem
from backstay.testing.crash_rig import Machine, small_sizes

HOUR_NS = 3600 * 10**9


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    """A machine with a restore point."""
    monkeypatch.setenv("BACKSTAY_STATE", str(tmp_path / "state"))
    with small_sizes():
        machine = Machine.new(tmp_path)
        machine.fill("a", 20, Random(1))
        folder = machine.source / "d0"
        os.link(folder / "a0", folder / "link")
        os.symlink("a0", folder / "symlink")
        os.mkfifo(folder / "fifo")
        machine.backup()
        yield machine


def read_files(outcome: BackupOutcome) -> int:
    """How many files a backup read."""
    return next(int(step.figures["files"]) for step in outcome.steps if step.name == "transmit")


def same_size_and_mtime(folder: Path) -> None:
    """Other content, of the same length, with the modification time put back."""
    st = (folder / "a5").stat()
    (folder / "a5").write_bytes(Random(2).randbytes(st.st_size))
    os.utime(folder / "a5", ns=(st.st_atime_ns, st.st_mtime_ns))


def replaced_by_rename(folder: Path) -> None:
    """Another file takes the name, of the same size and times."""
    st = (folder / "a5").stat()
    new = folder / "new"
    new.write_bytes(Random(3).randbytes(st.st_size))
    os.utime(new, ns=(st.st_atime_ns, st.st_mtime_ns))
    new.replace(folder / "a5")


def exchanged(folder: Path) -> None:
    """Two files exchange their names."""
    (folder / "a5").rename(folder / "x")
    (folder / "a10").rename(folder / "a5")
    (folder / "x").rename(folder / "a10")


def exchanged_folders(folder: Path) -> None:
    """Two folders exchange their names."""
    above = folder.parent
    (above / "d0").rename(above / "x")
    (above / "d1").rename(above / "d0")
    (above / "x").rename(above / "d1")


def folder_over_another(folder: Path) -> None:
    """A folder is renamed over an empty one, which was there before."""
    above = folder.parent
    for path in (above / "d1").iterdir():
        path.unlink()
    (above / "d2").replace(above / "d1")


def file_becomes_folder(folder: Path) -> None:
    """A file goes, and a folder takes its name."""
    (folder / "a5").unlink()
    (folder / "a5").mkdir()
    (folder / "a5" / "inside").write_bytes(b"inside")


def folder_becomes_file(folder: Path) -> None:
    """A folder goes with all below it, and a file takes its name."""
    above = folder.parent
    for path in (above / "d1").iterdir():
        path.unlink()
    (above / "d1").rmdir()
    (above / "d1").write_bytes(b"a file")


def symlink_elsewhere(folder: Path) -> None:
    """A symbolic link of the same length leads elsewhere."""
    (folder / "symlink").unlink()
    (folder / "symlink").symlink_to("a5")


def links_change(folder: Path) -> None:
    """A hard link goes, another comes, and the file that they share is written to."""
    (folder / "link").unlink()
    os.link(folder / "a0", folder.parent / "d1" / "link")
    with (folder / "a0").open("r+b") as file:
        file.write(b"changed")


def link_broken_by_copy(folder: Path) -> None:
    """A hard link becomes a file of its own, with the same content and times."""
    st = (folder / "a0").stat()
    content = (folder / "a0").read_bytes()
    (folder / "link").unlink()
    (folder / "link").write_bytes(content)
    os.utime(folder / "link", ns=(st.st_atime_ns, st.st_mtime_ns))


def mode_only(folder: Path) -> None:
    """Only the permissions change."""
    (folder / "a5").chmod(0o600)


def attribute_only(folder: Path) -> None:
    """Only extended attributes change, of a file and of a folder."""
    os.setxattr(folder / "a5", "user.note", b"one")
    os.setxattr(folder, "user.note", b"two")


def times_of_the_past(folder: Path) -> None:
    """Files and folders get times of long ago, before 1970, and of the future."""
    for name, seconds in (("a5", 1), ("a10", -1000), ("a15", 4_000_000_000)):
        os.utime(folder / name, ns=(0, seconds * 10**9 + 1))
    os.utime(folder, ns=(0, 5))


def hole(folder: Path) -> None:
    """Content becomes a hole of the same length."""
    path = folder / "a5"
    st = path.stat()
    os.truncate(path, 0)
    os.truncate(path, st.st_size)
    os.utime(path, ns=(st.st_atime_ns, st.st_mtime_ns))


CHANGES = [
    same_size_and_mtime, replaced_by_rename, exchanged, exchanged_folders, folder_over_another,
    file_becomes_folder, folder_becomes_file, symlink_elsewhere, links_change, link_broken_by_copy,
    mode_only, attribute_only, times_of_the_past, hole,
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_change(machine: Machine, change: Callable[[Path], None]) -> None:
    """The change is in the next restore point, the one before is as it was, and nothing is left to read."""
    change(machine.source / "d0")
    machine.backup()
    machine.check_points()
    machine.check_intact()
    assert read_files(machine.backup()) == 0
    machine.check_points()


def test_unchanged_reads_nothing(machine: Machine) -> None:
    """What did not change is not read."""
    assert read_files(machine.backup()) == 0
    machine.check_points()


def test_modified_within_the_granularity(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file modified in the two seconds before a scan is read again by the next, though nothing shows."""
    monkeypatch.setattr(capture, "_GRANULARITY_NS", 2 * 10**9)
    machine.backup()
    young = machine.source / "d1" / "young"
    young.write_bytes(b"young" * 1000)
    machine.backup()
    assert read_files(machine.backup()) >= 1
    time.sleep(2.1)
    machine.backup()
    assert read_files(machine.backup()) == 0
    machine.check_points()


def test_folder_modified_within_the_granularity(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """So is what a folder has besides its entries: it may have got an attribute within the same tick."""
    seen: list[bytes] = []
    machine.backup()
    monkeypatch.setattr(capture, "_GRANULARITY_NS", 2 * 10**9)
    (machine.source / "d1" / "young").mkdir()
    machine.backup()
    getxattr = os.listxattr

    def listing(path: object, **options: object) -> list[str]:
        seen.append(os.readlink(f"/proc/self/fd/{path}").encode() if isinstance(path, int) else b"")
        return getxattr(path, **options)

    with monkeypatch.context() as context:
        context.setattr(os, "listxattr", listing)
        run_backup(machine.open(), machine.request(), Silent())
    assert any(path.endswith(b"/young") for path in seen)


def test_time_in_the_future(machine: Machine) -> None:
    """A file whose modification time is years ahead is not read again each time."""
    os.utime(machine.source / "d1" / "a1", ns=(0, time.time_ns() + 10**17))
    machine.backup()
    assert read_files(machine.backup()) == 0


def test_clock_set_back(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a clock that was set back files bear times to come: they are whole, and changes are seen."""
    now = time.time_ns
    (machine.source / "d1" / "new").write_bytes(b"new" * 300)
    monkeypatch.setattr(time, "time_ns", lambda: now() - HOUR_NS)
    assert machine.backup().complete
    same_size_and_mtime(machine.source / "d0")
    assert machine.backup().complete
    machine.check_points()


def test_mapped_writes(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a process writes into a mapped file is in the next restore point, without msync or munmap."""
    monkeypatch.setattr(capture, "sync_filesystem", sync_filesystem)
    path = machine.source / "d1" / "mapped"
    path.write_bytes(bytes(20_000))
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
        for number in range(1, 6):
            mapped[5000] = number
            outcome = machine.backup()
            seen = machine.read(outcome.point)[b"d1/mapped"]
            mapped[5000] = number + 100
            machine.committed[outcome.point.id][b"d1/mapped"] = seen
            again = machine.read(machine.backup().point)[b"d1/mapped"]
            assert again.content != seen.content
    machine.check_next_backup()


def test_two_sets_share_and_expire(machine: Machine) -> None:
    """Of two sets with the same files one is taken out and pruned: the other stays whole, and both go on."""
    other = type(machine.request())([os.fsencode(machine.source / "d1")], "other", file_server="elsewhere")
    first = run_backup(machine.open(), other, Silent()).point
    machine.unjudged.add(first.id)
    for _ in range(2):
        machine.prune(lambda points: [point for point in points if point.id == first.id])
    machine.check_intact()
    expected = machine.read(first, machine.source / "d1")
    assert expected == machine.read(run_backup(machine.open(), other, Silent()).point, machine.source / "d1")
    machine.unjudged.update(point.id for point in machine.open().points())
    machine.check_next_backup()
    for _ in range(2):
        machine.prune(lambda points: [point for point in points if point.manifest.backup_set != "other"])
    machine.unjudged.add(run_backup(machine.open(), other, Silent()).point.id)
    machine.check_intact()
    machine.check_points()
