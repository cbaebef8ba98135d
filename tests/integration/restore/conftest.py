"""A repository to back up into and restore from, and the judges of a restored tree."""

import itertools
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from backstay.backup.progress import Silent
from backstay.backup.workflow import BackupRequest, run_backup
from backstay.repository.manifest import RestorePoint
from backstay.repository.repository import Repository
from backstay.restore.outcome import RestoreOutcome
from backstay.restore.plan import plan_restore
from backstay.restore.workflow import run_restore
from backstay.storage.local import LocalStorage

_numbers = itertools.count()


class Bench:
    """A repository, a source and a target, and what is done with them."""

    def __init__(self, repository: Repository, folder: Path) -> None:
        self.repository = repository
        self.set = f"set {next(_numbers)}"
        self.source, self.target = folder / "source", folder / "target"
        self.source.mkdir()
        self.target.mkdir()

    def backup(self) -> RestorePoint:
        """Back the source up."""
        return run_backup(
            self.repository, BackupRequest([os.fsencode(self.source)], backup_set=self.set), Silent()
        ).point

    def restore(self, point: RestorePoint, **options: object) -> RestoreOutcome:
        """Restore right into the target, so that it holds what the source holds."""
        verified = bool(options.pop("verified", True))
        options.setdefault("target", os.fsencode(self.target))
        with plan_restore(self.repository, point, **options) as plan:  # type: ignore[arg-type]
            return run_restore(plan, verified=verified)

    @property
    def restored(self) -> Path:
        """Where the source comes to lie below the target."""
        return self.target / self.source.relative_to("/")


@pytest.fixture(scope="session")
def shared_repository(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """One repository for all tests that leave its storage alone: deriving keys takes long."""
    folder = tmp_path_factory.mktemp("repository")
    storage = LocalStorage(str(folder / "storage"), create=True)
    return Repository.create(storage, "passphrase", cache=folder / "cache")[0]


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """State and cache of this test alone; what it made immutable can be removed afterwards."""
    monkeypatch.setenv("BACKSTAY_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("BACKSTAY_CACHE", str(tmp_path / "cache"))
    yield
    subprocess.run(["chattr", "-R", "-f", "-i", "-a", str(tmp_path)], check=False, capture_output=True)


@pytest.fixture
def bench(shared_repository: Repository, tmp_path: Path) -> Bench:
    """A bench on the shared repository."""
    return Bench(shared_repository, tmp_path)


@pytest.fixture
def new_bench(shared_repository: Repository, tmp_path: Path) -> Callable[[], Bench]:
    """Makes a fresh bench on the shared repository whenever it is called."""

    def make() -> Bench:
        folder = tmp_path / f"bench {next(_numbers)}"
        folder.mkdir()
        return Bench(shared_repository, folder)

    return make


@pytest.fixture
def own_bench(tmp_path: Path) -> Bench:
    """A bench on a repository of its own, which the test may damage."""
    storage = LocalStorage(str(tmp_path / "storage"), create=True)
    return Bench(Repository.create(storage, "passphrase", cache=tmp_path / "cache")[0], tmp_path)


@pytest.fixture
def differences() -> Callable[[Path, Path], str]:
    """What tools that are not ours say about two trees; empty where they are the same."""
    if not shutil.which("rsync"):
        pytest.skip("rsync is not installed")

    def judge(source: Path, restored: Path) -> str:
        found = _run(
            "rsync", "-aHAXn", "--delete", "--itemize-changes", "--numeric-ids", f"{source}/", f"{restored}/"
        )
        for command in (["lsattr", "-a", "-R", "."], ["getcap", "-r", "."], ["getfacl", "-R", "-P", "."]):
            if shutil.which(command[0]) and _run(*command, cwd=source) != _run(*command, cwd=restored):
                found += f"{command[0]} differs\n"
        return found + "".join(_exact_differences(source, restored))

    return judge


def _run(*command: str, cwd: Path | None = None) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, check=False)
    return done.stdout.decode("utf-8", "surrogateescape") + done.stderr.decode("utf-8", "replace")


def _exact_differences(source: Path, restored: Path) -> Iterator[str]:
    """Nanoseconds and allocated blocks, which rsync does not compare."""
    for path in [source, *source.rglob("*")]:
        ours, theirs = path.lstat(), (restored / path.relative_to(source)).lstat()
        if ours.st_mtime_ns != theirs.st_mtime_ns:
            yield f"{path}: modification times differ\n"
        # Where a file is stored as a few extents more or less the file system may need a block for itself.
        if path.is_file() and not path.is_symlink() and theirs.st_blocks > ours.st_blocks + 8:
            yield f"{path}: {theirs.st_blocks} blocks instead of {ours.st_blocks}\n"
