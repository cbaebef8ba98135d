"""Backups of trees that do not hold still, and of sets of every shape; judged by rsync and by content."""

import os
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from backstay.backup.progress import Silent
from backstay.backup.workflow import STEPS, BackupOutcome, BackupRequest, run_backup
from backstay.domain.content_rule import ContentRule
from backstay.domain.entry import Entry, Grade
from backstay.domain.errors import AlreadyRunning, Cancelled, SourceError
from backstay.repository.browse import Browser
from backstay.repository.details import StepRecord
from backstay.repository.repository import Repository
from backstay.restore.plan import plan_restore
from backstay.restore.workflow import run_restore
from backstay.storage.local import LocalStorage


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    """A new repository, with cache and state of its own."""
    monkeypatch.setenv("BACKSTAY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("BACKSTAY_STATE", str(tmp_path / "state"))
    made, _ = Repository.create(LocalStorage(tmp_path / "repository", create=True), "passphrase")
    return made


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """An empty folder to back up."""
    folder = tmp_path / "source"
    folder.mkdir()
    return folder


class At(Silent):
    """Does something at the start of a step, or at a file."""

    def __init__(
        self, step: str = "", action: Callable[[], None] = lambda: None, *, at_file: int = 0
    ) -> None:
        self._step = step
        self._action = action
        self._at_file = at_file
        self.steps: list[StepRecord] = []

    def step_started(self, name: str) -> None:
        """Do it, if this is the step."""
        if name == self._step:
            self._action()

    def step_ended(self, step: StepRecord) -> None:
        """Keep the record."""
        self.steps.append(step)

    def transmitting(self, files: int, size: int, path: bytes) -> None:
        """Do it, if this is the file."""
        if files == self._at_file:
            self._action()


def back_up(
    repository: Repository, *paths: Path, progress: Silent | None = None, **options: object
) -> BackupOutcome:
    """Back up these paths."""
    request = BackupRequest([os.fsencode(path) for path in paths], **options)  # type: ignore[arg-type]
    return run_backup(repository, request, progress or Silent())


def restored(repository: Repository, outcome: BackupOutcome, source: Path, target: Path) -> Path:
    """Restore a point, and return where `source` now lies."""
    with plan_restore(repository, outcome.point, target=os.fsencode(target)) as plan:
        done = run_restore(plan)
    assert not done.problems
    return target / str(source).lstrip("/")


def differences(source: Path, copy: Path) -> str:
    """What rsync would still have to do to make the copy equal."""
    command = ["rsync", "-acHAXn", "--delete", "--itemize-changes", f"{source}/", f"{copy}/"]
    return subprocess.run(command, check=True, capture_output=True, text=True, errors="replace").stdout


def entry_of(repository: Repository, outcome: BackupOutcome, path: Path) -> Entry:
    """The entry of a path in the restore point."""
    return Browser(repository).require(outcome.point, os.fsencode(path))


def test_a_backup_runs_the_six_steps_in_order(repository: Repository, source: Path) -> None:
    """Request, type, recovery point or scan, estimate, transmit, clean up: each done, once, in order."""
    (source / "a").write_bytes(b"a" * 5000)
    progress = At()
    outcome = back_up(repository, source, progress=progress)
    assert [step.name for step in progress.steps] == list(STEPS)
    assert {step.state for step in outcome.steps} == {"done"}
    estimate = outcome.steps[3].figures
    assert (estimate["files"], estimate["changed_bytes"]) == (1, 5000)


def test_files_that_change_before_they_are_read(repository: Repository, source: Path, tmp_path: Path) -> None:
    """Grown, shrunk, rewritten, swapped, or gone after the scan: the backup has what is there instead."""
    names = ["grows", "shrinks", "rewritten", "folder", "pipe", "link", "gone", "quiet"]
    for name in names:
        (source / name).write_bytes(name.encode() * 2000)
    (source / "was a folder").mkdir()
    (source / "was a folder" / "inside").write_bytes(b"x" * 3000)
    outside = tmp_path / "outside"
    outside.write_bytes(b"secret" * 1000)

    def stir() -> None:
        with (source / "grows").open("ab") as file:
            file.write(b"more" * 1000)
        os.truncate(source / "shrinks", 100)
        (source / "rewritten").write_bytes(b"other!" * 3000)
        for name in ("folder", "pipe", "link", "gone"):
            (source / name).unlink()
        (source / "folder").mkdir()
        os.mkfifo(source / "pipe")
        (source / "link").symlink_to(outside)
        (source / "was a folder" / "inside").unlink()
        (source / "was a folder").rmdir()
        (source / "was a folder").write_bytes(b"now a file")

    outcome = back_up(repository, source, progress=At("transmit", stir))
    assert outcome.complete
    copy = restored(repository, outcome, source, tmp_path / "copy")
    assert differences(source, copy) == ""
    contents = {path.read_bytes() for path in copy.rglob("*") if path.is_file() and not path.is_symlink()}
    assert outside.read_bytes() not in contents


def test_a_tree_that_is_written_all_the_time(repository: Repository, source: Path, tmp_path: Path) -> None:
    """Every file that counts as stable is as it was at one instant; the others are named."""
    size = 300_000
    files = [source / f"d{number % 7}" / f"f{number}" for number in range(60)]
    for path in files:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"\0" * size)
    stop = threading.Event()

    def scribble() -> None:
        version = 0
        while not stop.is_set():
            version += 1
            for path in files[::3]:
                with path.open("r+b") as file:
                    for _ in range(30):
                        file.write(bytes([version % 256]) * (size // 30))
                        file.flush()

    writer = threading.Thread(target=scribble)
    writer.start()
    try:
        outcomes = [back_up(repository, source) for _ in range(4)]
    finally:
        stop.set()
        writer.join()
    for number, outcome in enumerate(outcomes):
        copy = restored_with_problems(repository, outcome, source, tmp_path / f"copy{number}")
        named = {os.fsdecode(problem.path) for problem in outcome.problems}
        for path in files:
            content = (copy / path.relative_to(source)).read_bytes()
            if str(path) not in named:
                assert len(content) == size
                # The writer goes from front to back: what was read at one instant is a new
                # front and the version before it, joined between two writes.
                cut = len(content) - len(content.lstrip(content[:1]))
                assert len(set(content[cut:])) <= 1
                assert cut % (size // 30) == 0
                assert cut == size or content[cut] == (content[0] - 1) % 256
    last = back_up(repository, source)
    assert last.complete
    assert differences(source, restored(repository, last, source, tmp_path / "last")) == ""


def restored_with_problems(
    repository: Repository, outcome: BackupOutcome, source: Path, target: Path
) -> Path:
    """Restore a point that may hold files which changed while they were read."""
    with plan_restore(repository, outcome.point, target=os.fsencode(target)) as plan:
        run_restore(plan)
    return target / str(source).lstrip("/")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give up what lets root read everything")
def test_an_unreadable_file_keeps_its_previous_version(tmp_path: Path) -> None:
    """What may not be read is named, graded, and restored as it was at the last good backup."""
    script = f"""
import os
from pathlib import Path
from backstay.storage.local import LocalStorage
from backstay.repository.repository import Repository
from backstay.repository.browse import Browser
from backstay.backup.workflow import BackupRequest, run_backup
from backstay.backup.progress import Silent
home = Path({str(tmp_path)!r})
os.environ["BACKSTAY_CACHE"] = os.environ["BACKSTAY_STATE"] = str(home / "own")
repository, _ = Repository.create(LocalStorage(home / "repository", create=True), "x")
request = BackupRequest([os.fsencode(home / "source")])
first = run_backup(repository, request, Silent())
assert first.complete, first.problems
(home / "source" / "kept").write_bytes(b"newer" * 300)
os.chmod(home / "source" / "kept", 0)
(home / "source" / "never").write_bytes(b"never" * 300)
os.chmod(home / "source" / "never", 0)
os.chmod(home / "source" / "closed", 0)
second = run_backup(repository, request, Silent())
print(sorted((os.path.basename(p.path), p.reason, p.grade) for p in second.problems))
for name in ("kept", "never", "closed/inside"):
    entry = Browser(repository).require(second.point, os.fsencode(home / "source" / name))
    print(name, entry.grade, entry.has_content, entry.size)
"""
    source = tmp_path / "source"
    (source / "closed").mkdir(parents=True)
    (source / "kept").write_bytes(b"older" * 200)
    (source / "closed" / "inside").write_bytes(b"inside" * 200)
    # Root without these capabilities may do no more than the mode bits say: capabilities(7).
    plain = "-dac_override,-dac_read_search"
    command = ["setpriv", "--bounding-set", plain, "--inh-caps", plain, sys.executable, "-c", script]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    problems, kept, never, inside = ran.stdout.splitlines()
    assert "b'kept', 'permission denied', 3" in problems
    assert "b'never', 'permission denied', 3" in problems
    assert "b'closed', 'permission denied', 3" in problems
    assert kept == "kept 3 True 1000"
    assert never == "never 3 False 1500"
    assert inside == "closed/inside 1 True 1200"


def test_names_of_any_bytes_and_any_depth(repository: Repository, source: Path, tmp_path: Path) -> None:
    """Names that are no UTF-8, and a path of 6,000 bytes, come back to the byte."""
    odd = os.fsencode(source) + b"/\xff\xfe \n\t\x1b[31m\xe9"
    with Path(os.fsdecode(odd)).open("wb") as file:
        file.write(b"odd")
    fd = os.open(source, os.O_RDONLY)
    for _ in range(30):
        os.mkdir("d" * 200, dir_fd=fd)
        below = os.open("d" * 200, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    with os.fdopen(os.open("deep", os.O_CREAT | os.O_WRONLY, dir_fd=fd), "wb") as file:
        file.write(b"down here" * 100)
    os.close(fd)
    # A file this young might change again without its times telling, and would be read twice.
    time.sleep(2.1)
    outcome = back_up(repository, source)
    assert outcome.complete
    assert back_up(repository, source).steps[4].figures["files"] == 0
    copy = restored(repository, outcome, source, tmp_path / "copy")
    assert sorted(os.listdir(os.fsencode(copy))) == sorted(os.listdir(os.fsencode(source)))
    find = ["find", ".", "-type", "f", "-printf", "%P %s %T@\n"]
    listings = [
        subprocess.run(find, cwd=place, capture_output=True, check=True).stdout for place in (source, copy)
    ]
    assert sorted(listings[0].splitlines()) == sorted(listings[1].splitlines())


def test_a_folder_of_seventy_thousand_entries(repository: Repository, source: Path, tmp_path: Path) -> None:
    """A huge folder is kept in pages: one changed file makes a handful of new blobs, and all come back."""
    for number in range(70_000):
        os.close(os.open(source / f"f{number:06}", os.O_CREAT | os.O_WRONLY))
    os.utime(source / "f000000", (1, 1))
    first = back_up(repository, source)
    assert first.point.manifest.totals.files == 70_000
    time.sleep(2.1)
    settle = back_up(repository, source)
    (source / "f031234").write_bytes(b"changed" * 500)
    (source / "f000007").unlink()
    time.sleep(0.05)
    second = back_up(repository, source)
    assert second.complete
    assert second.steps[4].figures["files"] == 1
    # The file, its two pages, the page above, and those of the folders up to the root.
    assert int(second.steps[4].figures["new_blobs"]) <= 4 + len(source.parts)
    assert second.point.manifest.totals.files == 69_999
    assert settle.point.manifest.root != second.point.manifest.root
    copy = restored(repository, second, source, tmp_path / "copy")
    assert differences(source, copy) == ""


def test_sets_of_every_shape(repository: Repository, source: Path, tmp_path: Path) -> None:
    """A file, a symbolic link, nested and repeated paths, and one that is missing, make one tree together."""
    (source / "a" / "b").mkdir(parents=True)
    (source / "a" / "b" / "inner").write_bytes(b"inner" * 300)
    (source / "file").write_bytes(b"file" * 300)
    (source / "link").symlink_to("file")
    paths = [
        source / "a",
        source / "a" / "b",
        source / "file",
        source / "link",
        source / "a",
        source / "missing",
    ]
    outcome = back_up(repository, *paths)
    assert [os.path.basename(problem.path) for problem in outcome.problems] == [b"missing"]
    copy = restored(repository, outcome, source, tmp_path / "copy")
    assert sorted(str(path.relative_to(copy)) for path in copy.rglob("*")) == [
        "a",
        "a/b",
        "a/b/inner",
        "file",
        "link",
    ]
    assert (copy / "link").readlink() == Path("file")
    assert (copy / "file").read_bytes() == b"file" * 300
    with pytest.raises(SourceError, match="missing"):
        back_up(repository, source / "missing")


def test_hard_links_are_read_once_and_stay_linked(
    repository: Repository, source: Path, tmp_path: Path
) -> None:
    """Three names of one inode in two folders cost one read, and are one inode again after a restore."""
    (source / "one").mkdir()
    (source / "two").mkdir()
    (source / "one" / "x").write_bytes(os.urandom(200_000))
    os.link(source / "one" / "x", source / "two" / "y")
    os.link(source / "one" / "x", source / "z")
    # Within a timer tick of its last change a file is read twice.
    time.sleep(0.05)
    outcome = back_up(repository, source)
    assert outcome.point.manifest.read_bytes == 200_000
    copy = restored(repository, outcome, source, tmp_path / "copy")
    assert len({(copy / name).stat().st_ino for name in ("one/x", "two/y", "z")}) == 1
    assert differences(source, copy) == ""


def test_a_cancelled_backup_commits_nothing_and_is_not_lost(repository: Repository, source: Path) -> None:
    """After a cancel there is no restore point; the next backup sends only what was not stored."""
    for number in range(400):
        (source / f"f{number:03}").write_bytes(os.urandom(50_000))

    def cancel() -> None:
        raise Cancelled("the backup was cancelled")

    with pytest.raises(Cancelled):
        back_up(repository, source, progress=At(action=cancel, at_file=300))
    assert repository.points() == []
    outcome = back_up(repository, source)
    assert outcome.complete
    assert int(outcome.steps[4].figures["new_bytes"]) <= 110 * 50_000


def test_one_set_is_backed_up_by_one_process(repository: Repository, source: Path) -> None:
    """A second backup of the same set is refused, naming the process; another set goes on."""
    (source / "a").write_bytes(b"a" * 1000)
    refused: list[AlreadyRunning] = []

    def again() -> None:
        with pytest.raises(AlreadyRunning) as caught:
            back_up(repository, source)
        refused.append(caught.value)
        assert back_up(repository, source, backup_set="other").complete

    assert back_up(repository, source, progress=At("transmit", again)).complete
    assert str(os.getpid()) in str(refused[0])


def test_a_content_rule_applies_at_once(repository: Repository, source: Path, tmp_path: Path) -> None:
    """A rule that changes between two backups decides anew for files that did not change."""
    for name in ("keep.txt", "drop.tmp"):
        (source / name).write_bytes(name.encode() * 200)
    rule = ContentRule.from_patterns(["*.tmp"])
    shapes = []
    for number, current in enumerate([ContentRule(), rule, ContentRule()]):
        outcome = back_up(repository, source, rule=current)
        copy = restored(repository, outcome, source, tmp_path / f"copy{number}")
        shapes.append(sorted(path.name for path in copy.iterdir()))
    assert shapes == [["drop.tmp", "keep.txt"], ["keep.txt"], ["drop.tmp", "keep.txt"]]


@pytest.fixture
def mounted(source: Path) -> Iterator[Path]:
    """A small filesystem mounted in the source."""
    point = source / "mounted"
    point.mkdir()
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "none", point], check=False).returncode:
        pytest.skip("cannot mount here: needs root")
    yield point
    subprocess.run(["umount", "-l", point], check=True)


def test_mount_points_are_not_crossed_unless_asked(
    repository: Repository, source: Path, mounted: Path
) -> None:
    """A mounted filesystem stays out, as an empty folder and with a message; when asked it is in."""
    (mounted / "inside").write_bytes(b"inside" * 200)
    (source / "outside").write_bytes(b"outside" * 200)
    outcome = back_up(repository, source)
    assert outcome.point.manifest.totals.files == 1
    assert stat.S_ISDIR(entry_of(repository, outcome, mounted).mode)
    assert any(str(mounted) in message for step in outcome.steps for message in step.messages)
    crossed = back_up(repository, source, cross_mounts=True)
    assert crossed.point.manifest.totals.files == 2
    assert entry_of(repository, crossed, mounted / "inside").grade == Grade.STABLE
