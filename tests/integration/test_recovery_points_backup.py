"""Backups of a real btrfs: read from recovery points, which are gone afterwards, whatever happens."""

import fcntl
import os
import shutil
import signal
import stat
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from backstay.backup.freeze import freeze
from backstay.backup.progress import Silent
from backstay.backup.source import choose_roots
from backstay.backup.workflow import BackupOutcome, BackupRequest, run_backup
from backstay.domain.entry import Entry, Grade
from backstay.domain.errors import Cancelled, SourceError
from backstay.recovery_points.btrfs import SNAPSHOTS, Btrfs
from backstay.recovery_points.provider import RecoveryPoint
from backstay.recovery_points.record import Records
from backstay.recovery_points.registry import sweep
from backstay.recovery_points.volume import Mounts, Volume
from backstay.recovery_points.workspace import WORKSPACES, Workspace
from backstay.repository.details import StepRecord
from backstay.repository.repository import Repository
from backstay.repository.tree import iterate_folder
from backstay.testing.memory_storage import MemoryStorage

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to mount and to freeze")


SUBVOL_CREATE = 0x5000940E
"""BTRFS_IOC_SUBVOL_CREATE: linux/btrfs.h."""


def run(*command: object) -> str:
    """The output of a command."""
    return subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A btrfs, mounted."""
    base = tmp_path_factory.mktemp("btrfs")
    file, mounted = base / "image", base / "mounted"
    mounted.mkdir()
    with file.open("wb") as made:
        made.truncate(512 << 20)
    if not shutil.which("mkfs.btrfs"):
        pytest.skip("mkfs.btrfs is not installed")
    run("mkfs.btrfs", "-q", file)
    done = subprocess.run(["mount", "-o", "loop", file, mounted], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"btrfs images cannot be mounted here: {done.stderr.strip()}")
    yield mounted
    run("umount", "--lazy", mounted)
    file.unlink()


@pytest.fixture
def source(image: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """An empty subvolume; afterwards no recovery point is left on the file system, nor a mount of it."""
    folder = image / request.node.name
    run("btrfs", "subvolume", "create", folder)
    yield folder
    assert left_behind(image) == []
    # Inner ones first.
    mine = sorted((name for name in subvolumes(image) if name.startswith(folder.name)), reverse=True)
    run("btrfs", "subvolume", "delete", *(image / name for name in mine))


@pytest.fixture(scope="module")
def empty_repository() -> MemoryStorage:
    """Made once, as its keys take a while."""
    storage = MemoryStorage()
    Repository.create(storage, "pw")
    return storage


@pytest.fixture
def repository(
    empty_repository: MemoryStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Repository:
    """A new one, and a state folder of its own."""
    monkeypatch.setenv("BACKSTAY_STATE", str(tmp_path / "state"))
    return Repository.open(empty_repository, "pw", cache=tmp_path / "cache")


def subvolumes(image: Path) -> list[str]:
    """All of the file system, as the btrfs tool names them."""
    return [line.split(" path ")[1] for line in run("btrfs", "subvolume", "list", image).splitlines()]


def left_behind(image: Path) -> list[str]:
    """Recovery points of the file system that exist now, and where else it is mounted."""
    lines = [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    device = next(line[2] for line in lines if line[4] == str(image))
    return [
        *(name for name in subvolumes(image) if "backstay-" in name),
        *(line[4] for line in lines if line[2] == device and line[4].startswith(f"{WORKSPACES}/")),
    ]


@dataclass
class Hooks(Silent):
    """Does something when a step begins."""

    at: dict[str, Callable[[], object]] = field(default_factory=dict)

    def step_started(self, name: str) -> None:
        """A step has begun."""
        if name in self.at:
            self.at[name]()


def back_up(repository: Repository, *paths: Path, **wishes: object) -> BackupOutcome:
    """One backup."""
    hooks = Hooks(wishes.pop("at", {}))  # type: ignore[arg-type]
    request = BackupRequest([os.fsencode(path) for path in paths], **wishes)  # type: ignore[arg-type]
    return run_backup(repository, request, hooks)


def captured(repository: Repository, outcome: BackupOutcome) -> dict[str, tuple[Entry, bytes]]:
    """Every entry of a restore point by its path, with its content where that is small."""
    read = repository.reader_of(repository.load_index()).read
    found: dict[str, tuple[Entry, bytes]] = {}
    waiting = [("", outcome.point.manifest.root)]
    while waiting:
        folder, page = waiting.pop()
        for entry in iterate_folder(page, read):
            path = f"{folder}/{os.fsdecode(entry.name)}"
            content = entry.inline or b""
            for chunk in entry.chunks or ():
                content += read(chunk.blob) if chunk.blob else bytes(chunk.length)
            found[path] = entry, content
            if entry.page is not None:
                waiting.append((path, entry.page))
    return found


def step(outcome: BackupOutcome, name: str) -> StepRecord:
    """The record of the step whose name begins so."""
    return next(record for record in outcome.steps if record.name.startswith(name))


def test_reads_from_a_recovery_point(repository: Repository, source: Path) -> None:
    """Every file of a btrfs is of the grade snapshot, and the step says that the volume was frozen."""
    (source / "folder").mkdir()
    (source / "file").write_bytes(b"1")
    (source / "folder" / "large").write_bytes(os.urandom(5 << 20))
    outcome = back_up(repository, source)
    found = captured(repository, outcome)
    assert found[f"{source}/file"][1] == b"1"
    assert found[f"{source}/folder/large"][1] == (source / "folder" / "large").read_bytes()
    assert {entry.grade for entry, _ in found.values() if entry.is_regular} == {Grade.SNAPSHOT}
    assert outcome.point.manifest.totals.snapshot == outcome.point.manifest.totals.files == 2
    assert any("is frozen" in message for message in step(outcome, "recovery").messages)
    assert outcome.complete


def test_captures_the_instant(repository: Repository, source: Path) -> None:
    """What happens after the recovery point was taken is no part of the backup, and no file is `changed`."""
    for name in ("a", "b", "gone"):
        (source / name).write_bytes(b"before")

    def change() -> None:
        (source / "a").write_bytes(b"after everything")
        (source / "gone").unlink()
        (source / "new").touch()

    outcome = back_up(repository, source, at={"estimate": change})
    found = captured(repository, outcome)
    assert [found[f"{source}/{name}"][1] for name in ("a", "b", "gone")] == [b"before"] * 3
    assert f"{source}/new" not in found
    assert outcome.complete


def test_files_that_are_always_written_agree(repository: Repository, source: Path) -> None:
    """Two files that are written and synced in turn all the time are captured as of one instant."""
    for number in range(300):
        (source / f"m{number}").write_bytes(os.urandom(20_000))
    writer = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import os,sys\n"
            "a, b = (os.open(name, os.O_WRONLY | os.O_CREAT) for name in sys.argv[1:])\n"
            "for number in range(10**9):\n"
            "    for fd in (a, b):\n"
            "        os.pwrite(fd, b'%09d' % number, 0); os.fdatasync(fd)\n",
            source / "a",
            source / "z",
        ]
    )
    try:
        deadline = time.monotonic() + 20
        while not (source / "z").exists() or (source / "z").stat().st_size < 9:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        outcome = back_up(repository, source)
        live = int((source / "z").read_bytes())
    finally:
        writer.kill()
        writer.wait()
    found = captured(repository, outcome)
    first, second = (int(found[f"{source}/{name}"][1]) for name in ("a", "z"))
    assert first - second in (0, 1)
    assert live > first + 10, "the writer was at work meanwhile"
    assert outcome.complete


def test_unchanged_tree_is_not_read(repository: Repository, source: Path) -> None:
    """A second recovery point of an unchanged tree shows nothing new, hard links included."""
    (source / "folder").mkdir()
    (source / "file").write_bytes(os.urandom(100_000))
    (source / "folder" / "link").hardlink_to(source / "file")
    time.sleep(2.1)
    first = back_up(repository, source)
    second = back_up(repository, source)
    assert first.point.manifest.read_bytes > 0
    assert second.point.manifest.read_bytes == 0
    assert step(second, "estimate").figures["changed_files"] == 0
    # The folders above the set belong to everybody.
    before, after = (
        {path: found for path, found in captured(repository, outcome).items() if path.startswith(str(source))}
        for outcome in (first, second)
    )
    assert len(before) >= 4
    assert before == after


def test_links_stay_tied(repository: Repository, source: Path) -> None:
    """A link whose folder was renamed is still tied to the one that was captured a recovery point ago."""
    for name in ("one", "two"):
        (source / name).mkdir()
    (source / "one" / "file").write_bytes(b"x" * 1000)
    (source / "two" / "link").hardlink_to(source / "one" / "file")
    time.sleep(2.1)
    back_up(repository, source)
    (source / "two").rename(source / "renamed")
    found = captured(repository, back_up(repository, source))
    file, link = found[f"{source}/one/file"][0], found[f"{source}/renamed/link"][0]
    assert (link.device, link.inode) == (file.device, file.inode)
    assert link.device == source.stat().st_dev


class Timed(Btrfs):
    """A btrfs that notes when it was asked."""

    def take(self, point: RecoveryPoint, volume: Volume, workspace: Workspace) -> None:
        """As ever."""
        self.asked_ns = time.time_ns()
        super().take(point, volume, workspace)


def test_doubt_begins_before_the_instant(source: Path, tmp_path: Path) -> None:
    """Files modified while volumes are frozen are read again: their times may be newer than their content."""
    provider = Timed()
    roots, _ = choose_roots([os.fsencode(source)])
    frozen = freeze(roots, allow_live=False, records=tmp_path / "records", providers=[provider])
    frozen.release()
    assert frozen.asked_ns < provider.asked_ns


def nest(source: Path) -> None:
    """Two levels of subvolumes in the source, the second below a folder, and one beside the set."""
    (source / "set" / "folder").mkdir(parents=True)
    for path in ("set/folder/sub", "set/folder/sub/deep", "beside"):
        run("btrfs", "subvolume", "create", source / path)
    (source / "set" / "file").write_bytes(b"0")
    (source / "set/folder/sub/file").write_bytes(b"1")
    (source / "set/folder/sub/deep/file").write_bytes(b"2")
    (source / "beside/file").write_bytes(b"3")


def test_nested_subvolumes_are_frozen_too(repository: Repository, source: Path) -> None:
    """Where other file systems are part of the set, so are nested subvolumes, from recovery points."""
    nest(source)

    def change() -> None:
        (source / "set/folder/sub/deep/file").write_bytes(b"changed")

    outcome = back_up(repository, source / "set", cross_mounts=True, at={"estimate": change})
    found = captured(repository, outcome)
    base = source / "set"
    paths = (f"{base}/file", f"{base}/folder/sub/file", f"{base}/folder/sub/deep/file")
    assert [found[path][1] for path in paths] == [b"0", b"1", b"2"]
    assert {found[path][0].grade for path in paths} == {Grade.SNAPSHOT}
    assert sum("is frozen" in message for message in step(outcome, "recovery").messages) == 3
    assert found[f"{base}/folder/sub"][0].inode == 256
    assert outcome.complete


def test_nested_subvolumes_are_named_where_not_entered(repository: Repository, source: Path) -> None:
    """Where the set ends at other file systems, a nested subvolume is one, and named: not just empty."""
    nest(source)
    outcome = back_up(repository, source / "set")
    found = captured(repository, outcome)
    assert f"{source}/set/folder/sub/file" not in found
    messages = step(outcome, "recovery").messages
    assert f"'{source}/set/folder/sub' is another filesystem" in messages
    assert sum("is frozen" in message for message in messages) == 1


def test_many_nested_subvolumes(repository: Repository, source: Path) -> None:
    """More subvolumes in one than the kernel tells in one answer: all are captured."""
    names = [f"s{number:03}" for number in range(260)]
    for name in names:
        os.mkdir(source / f"{name}-folder")
        fd = os.open(source / f"{name}-folder", os.O_RDONLY)
        fcntl.ioctl(fd, SUBVOL_CREATE, bytearray(struct.pack("=q4088s", 0, name.encode())))
        os.close(fd)
    mounts = Mounts.read()
    place = os.fsencode(source)
    mount = mounts.holding(place)
    assert mount is not None
    volumes = Btrfs().volumes(mount, place, mounts, nested=True)
    assert sorted(volume.place for volume in volumes[1:]) == [
        os.fsencode(source / f"{name}-folder" / name) for name in names
    ]
    assert len({volume.key for volume in volumes}) == 261


def test_mounts_below_are_captured_live(repository: Repository, source: Path) -> None:
    """What is mounted below a frozen root is not the empty folder of the recovery point, but read live."""
    (source / "below").mkdir()
    (source / "file").write_bytes(b"1")
    run("mount", "-t", "tmpfs", "tmpfs", source / "below")
    try:
        (source / "below" / "live").write_bytes(b"2")
        crossing = back_up(repository, source, cross_mounts=True)
        staying = back_up(repository, source, backup_set="other")
        with pytest.raises(SourceError, match="below' is tmpfs"):
            back_up(repository, source, cross_mounts=True, allow_live=False)
        strict = back_up(repository, source, allow_live=False)
    finally:
        run("umount", source / "below")
    found = captured(repository, crossing)
    assert found[f"{source}/below/live"][1] == b"2"
    assert found[f"{source}/below/live"][0].grade == Grade.STABLE
    assert found[f"{source}/file"][0].grade == Grade.SNAPSHOT
    assert any("below' is tmpfs" in message for message in step(crossing, "recovery").messages)
    assert f"{source}/below/live" not in captured(repository, staying)
    assert f"'{source}/below' is another filesystem" in step(staying, "recovery").messages
    assert strict.point.manifest.totals.snapshot == strict.point.manifest.totals.files == 1


def test_frozen_below_a_live_root(repository: Repository, source: Path, tmp_path: Path) -> None:
    """A btrfs that is mounted below a root that cannot be frozen is frozen where it is part of the set."""
    (source / "file").write_bytes(b"1")
    base = tmp_path / "base"
    (base / "mounted").mkdir(parents=True)
    (base / "plain").write_bytes(b"2")
    run("mount", "--bind", source, base / "mounted")
    try:
        outcome = back_up(
            repository,
            base,
            cross_mounts=True,
            at={"estimate": lambda: (source / "file").write_bytes(b"changed")},
        )
    finally:
        run("umount", base / "mounted")
    found = captured(repository, outcome)
    assert found[f"{base}/mounted/file"][1] == b"1"
    assert found[f"{base}/mounted/file"][0].grade == Grade.SNAPSHOT
    assert found[f"{base}/plain"][1] == b"2"
    assert found[f"{base}/plain"][0].grade == Grade.STABLE


@pytest.mark.parametrize("how", ["subvol", "read-only", "bind", "link"])
def test_whatever_way_it_is_reached(repository: Repository, source: Path, tmp_path: Path, how: str) -> None:
    """By subvol=, through a read-only mount, a bind mount or a symbolic link: it is frozen and captured."""
    (source / "deep" / "set").mkdir(parents=True)
    (source / "deep" / "set" / "file").write_bytes(b"1")
    at = tmp_path / "at"
    device = run("findmnt", "-n", "-o", "SOURCE", source.parent).strip()
    if how == "link":
        at.symlink_to(source)
    else:
        at.mkdir()
        options = f"subvol={source.name}" + (",ro" if how == "read-only" else "")
        command = ["--bind", source / "deep"] if how == "bind" else ["-o", options, device]
        run("mount", *command, at)
    below = "set" if how == "bind" else "deep/set"
    try:
        outcome = back_up(repository, at / below, allow_live=False)
        file = captured(repository, outcome)[f"{at}/{below}/file"]
    finally:
        if how != "link":
            run("umount", at)
    assert file[1] == b"1"
    assert file[0].grade == Grade.SNAPSHOT


def test_several_roots_share_a_recovery_point(repository: Repository, source: Path) -> None:
    """Two folders, a file and a symbolic link of one subvolume: one recovery point, and all from it."""
    for name in ("one", "two"):
        (source / name).mkdir()
        (source / name / "file").write_bytes(name.encode())
    (source / "single").write_bytes(b"3")
    (source / "link").symlink_to("single")
    paths = [source / name for name in ("one", "two", "single", "link")]
    outcome = back_up(
        repository, *paths, at={"estimate": lambda: (source / "single").write_bytes(b"changed")}
    )
    found = captured(repository, outcome)
    assert [found[f"{source}/{name}"][1] for name in ("one/file", "two/file", "single", "link")] == [
        b"one",
        b"two",
        b"3",
        b"single",
    ]
    assert outcome.point.manifest.totals.snapshot == outcome.point.manifest.totals.files == 3
    assert found[f"{source}/link"][0].is_symlink
    assert sum("is frozen" in message for message in step(outcome, "recovery").messages) == 1


def test_own_folder_is_no_part_of_a_set(repository: Repository, image: Path, source: Path) -> None:
    """The folder of recovery points is not captured, nor is another job's recovery point in it."""
    (source / "file").write_bytes(b"1")
    roots, _ = choose_roots([os.fsencode(source)])
    other = freeze(roots, allow_live=False)
    try:
        outcome = back_up(repository, image, cross_mounts=True)
        assert len([name for name in subvolumes(image) if "backstay-" in name]) == 1
    finally:
        other.release()
    found = captured(repository, outcome)
    assert found[str(source)][0].is_directory
    assert not [path for path in found if "backstay-" in path or path.endswith(".backstay")]


def test_folder_of_that_name_with_other_content(repository: Repository, image: Path, source: Path) -> None:
    """If a user keeps files in a folder called like ours, they are captured."""
    del source
    folder = image / os.fsdecode(SNAPSHOTS)
    folder.mkdir(exist_ok=True)
    (folder / "precious").write_bytes(b"1")
    try:
        found = captured(repository, back_up(repository, image))
    finally:
        (folder / "precious").unlink()
    assert found[f"{folder}/precious"][1] == b"1"


def test_nothing_is_left_after_a_failure(repository: Repository, image: Path, source: Path) -> None:
    """A backup that is cancelled while it transmits deletes its recovery point."""
    (source / "file").write_bytes(b"1")
    seen: list[str] = []

    def cancel() -> None:
        seen.extend(left_behind(image))
        raise Cancelled("the job was cancelled")

    with pytest.raises(Cancelled):
        back_up(repository, source, at={"transmit": cancel})
    assert any("backstay-" in name for name in seen)
    assert left_behind(image) == []


def test_a_killed_backup_is_cleaned_up_by_the_next(repository: Repository, image: Path, source: Path) -> None:
    """After SIGKILL while it transmits, recovery point and mounts stay until the next backup of any set."""
    (source / "file").write_bytes(b"1")
    child = os.fork()
    if child == 0:
        back_up(repository, source, at={"transmit": lambda: os.kill(os.getpid(), signal.SIGKILL)})
        os._exit(1)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    assert any("backstay-" in name for name in left_behind(image))
    seen: list[list[str]] = []
    outcome = back_up(
        repository, source, backup_set="another", at={"transmit": lambda: seen.append(left_behind(image))}
    )
    assert len([name for name in seen[0] if SNAPSHOTS.decode() + "/backstay-" in name]) == 1
    assert outcome.complete
    assert left_behind(image) == []


def count_operations(work: Callable[[], object], stop_at: int) -> int:
    """Do the work in a forked process; kill it before the operation of this number. How many there were."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        done = 0

        def audit(event: str, _arguments: object) -> None:
            nonlocal done
            if event == "open" or event.startswith(("os.", "fcntl.", "ctypes.dlsym")):
                done += 1
                if done == stop_at:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(audit)
        work()
        os.write(writing, b"%d" % done)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as told:
        text = told.read()
    os.waitpid(child, 0)
    return int(text or 0)


def test_killed_between_any_two_operations(image: Path, source: Path, tmp_path: Path) -> None:
    """Wherever freezing and releasing are cut off, and then the sweep, too, a sweep leaves nothing behind."""
    run("btrfs", "subvolume", "create", source / "nested")
    roots, _ = choose_roots([os.fsencode(source)])
    folder = tmp_path / "records"

    def work() -> None:
        freeze(roots, allow_live=False, cross_mounts=True, records=folder).release()

    total = count_operations(work, 0)
    assert total > 60
    cut = 0
    for stop_at in range(1, total + 1):
        assert count_operations(work, stop_at) == 0
        workspaces = {path.name.split("-")[1] for path in folder.glob("*.point")}
        if left_behind(image):
            cut += 1
            if cut % 7 == 0:
                for within in (8, 20, 45):
                    count_operations(lambda: sweep(Records(folder)), within)
        assert sweep(Records(folder)) == []
        assert left_behind(image) == []
        assert list(folder.glob("*.point")) == []
        assert not any((WORKSPACES / name).exists() for name in workspaces)
    assert cut > 20


def test_living_jobs_are_left_alone(image: Path, source: Path, tmp_path: Path) -> None:
    """A sweep touches neither a job that runs, nor snapshots that nobody recorded."""
    roots, _ = choose_roots([os.fsencode(source)])
    frozen = freeze(roots, allow_live=False, records=tmp_path / "records")
    foreign = image / os.fsdecode(SNAPSHOTS) / "backstay-of-somebody"
    run("btrfs", "subvolume", "snapshot", source, foreign)
    try:
        before = left_behind(image)
        assert sweep(Records(tmp_path / "records")) == []
        child = os.fork()
        if child == 0:
            os._exit(len(sweep(Records(tmp_path / "records"))))
        assert os.waitpid(child, 0)[1] == 0
        assert left_behind(image) == before
        assert os.listdir(frozen.roots[0].actual) == []
        assert frozen.release() == []
        assert [name for name in left_behind(image) if "backstay-" in name] == [
            f"{os.fsdecode(SNAPSHOTS)}/backstay-of-somebody"
        ]
    finally:
        frozen.release()
        run("btrfs", "subvolume", "delete", foreign)


def test_point_that_cannot_be_deleted_is_kept_in_mind(image: Path, source: Path, tmp_path: Path) -> None:
    """A release that fails says so, and the next sweep deletes the recovery point."""
    roots, _ = choose_roots([os.fsencode(source)])
    records = tmp_path / "records"
    frozen = freeze(roots, allow_live=False, records=records)
    name = next(name for name in subvolumes(image) if "backstay-" in name)
    # The kernel refuses to delete the subvolume that is mounted by default.
    tree = run("btrfs", "subvolume", "show", image / name).split("Subvolume ID:")[1].split()[0]
    run("btrfs", "subvolume", "set-default", tree, image)
    try:
        [problem] = frozen.release()
        assert "could not be deleted" in problem
        assert "the next backup tries again" in problem
        assert sweep(Records(records)) != []
        assert name in subvolumes(image)
    finally:
        run("btrfs", "subvolume", "set-default", "5", image)
    assert sweep(Records(records)) == []
    assert frozen.release() == []
    assert left_behind(image) == []


def test_read_only_file_system_is_read_in_place(repository: Repository, tmp_path: Path) -> None:
    """A btrfs that is read-only as a whole is not written to: it is read live, and the step says why."""
    file, at = tmp_path / "image", tmp_path / "at"
    at.mkdir()
    content = tmp_path / "content"
    content.mkdir()
    (content / "file").write_bytes(b"1")
    with file.open("wb") as made:
        made.truncate(128 << 20)
    run("mkfs.btrfs", "-q", "--rootdir", content, file)
    run("mount", "-o", "loop,ro", file, at)
    try:
        outcome = back_up(repository, at)
        with pytest.raises(SourceError, match="mounted read-only"):
            back_up(repository, at, allow_live=False)
    finally:
        run("umount", at)
    assert captured(repository, outcome)[f"{at}/file"][0].grade == Grade.STABLE
    assert any("mounted read-only" in message for message in step(outcome, "recovery").messages)


def test_records_that_cannot_be_written(image: Path, source: Path, tmp_path: Path) -> None:
    """Without a record nothing is made: the volume is read live with the reason, or the backup refused."""
    blocked = tmp_path / "records"
    blocked.write_bytes(b"not a folder")
    roots, _ = choose_roots([os.fsencode(source)])
    frozen = freeze(roots, allow_live=True, records=blocked)
    assert frozen.roots == roots
    assert any("cannot be recorded" in message for message in frozen.messages)
    with pytest.raises(SourceError, match="cannot be recorded"):
        freeze(roots, allow_live=False, records=blocked)
    assert left_behind(image) == []


def test_name_with_any_bytes(repository: Repository, source: Path) -> None:
    """Folders and subvolumes whose names are not UTF-8, or need escapes in mountinfo, are frozen, too."""
    odd = os.fsencode(source) + b"/a \\ b\t\xff\n"
    os.mkdir(odd)
    run("btrfs", "subvolume", "create", source / "plain")
    os.rename(os.fsencode(source / "plain"), odd + b"/su\xfeb c")
    Path(os.fsdecode(odd + b"/su\xfeb c/file")).write_bytes(b"1")
    outcome = back_up(repository, source, cross_mounts=True)
    [(path, (entry, content))] = [
        item for item in captured(repository, outcome).items() if stat.S_ISREG(item[1][0].mode)
    ]
    assert path == os.fsdecode(odd + b"/su\xfeb c/file")
    assert (entry.grade, content) == (Grade.SNAPSHOT, b"1")
    os.rename(odd + b"/su\xfeb c", os.fsencode(source / "plain"))
