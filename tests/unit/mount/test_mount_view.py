"""The tree of a mount, without a kernel."""

from pathlib import Path

import pytest

from backstay.backup.progress import Silent
from backstay.backup.workflow import BackupRequest, run_backup
from backstay.mount import page_cache
from backstay.mount.view import View, inode_of, point_name
from backstay.repository.prune import run_prune
from backstay.repository.repository import Repository
from backstay.storage.local import LocalStorage


class Clock:
    """Seconds that pass when they are told to."""

    now = 0.0

    def __call__(self) -> float:
        """The seconds."""
        return self.now


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    """An empty repository."""
    monkeypatch.setenv("BACKSTAY_STATE", str(tmp_path / "state"))
    storage = LocalStorage(str(tmp_path / "repository"), create=True)
    made, _ = Repository.create(storage, "words", cache=tmp_path / "cache")
    return made


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder with one file."""
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "file").write_bytes(b"first" * 1000)
    return folder


def back_up(repository: Repository, source: Path, backup_set: str = "default") -> bytes:
    """Make a restore point, and return the name of its folder."""
    outcome = run_backup(repository, BackupRequest([bytes(source)], backup_set), Silent())
    return point_name(outcome.point)


def names(view: View, path: bytes) -> list[bytes]:
    """The names in a folder."""
    return [entry.name for entry in view.list_folder(path)]


def test_new_and_expired_points_come_and_go(repository: Repository, source: Path) -> None:
    """Restore points that are made or taken out while the view is open soon appear and vanish."""
    clock = Clock()
    first = back_up(repository, source)
    view = View(repository, clock=clock)
    (server,) = names(view, b"/")
    of_set = b"/" + server + b"/default"
    assert names(view, of_set) == [first, b"latest"]
    (source / "file").write_bytes(b"second" * 1000)
    second = back_up(repository, source)
    assert names(view, of_set) == [first, b"latest"]
    clock.now += 60
    latest = view.find(of_set + b"/latest")
    assert latest is not None
    assert latest.inline == second
    assert set(names(view, of_set)) == {first, second, b"latest"}
    entry = view.find(of_set + b"/" + second + bytes(source) + b"/file")
    assert entry is not None
    assert view.content(entry).read(0, 100_000) == b"second" * 1000
    run_prune(repository, lambda points: points[:1], grace_seconds=0)
    clock.now += 60
    assert names(view, of_set) == [second, b"latest"]
    assert view.find(of_set + b"/" + first) is None


def test_content_is_found_after_a_prune_moved_it(repository: Repository, source: Path) -> None:
    """A blob that a prune moved to another pack is found again by the index as it is then."""
    clock = Clock()
    (source / "gone").write_bytes(bytes(range(256)) * 2000)
    first = back_up(repository, source)
    (source / "gone").unlink()
    second = back_up(repository, source)
    view = View(repository, clock=clock)
    (server,) = names(view, b"/")
    path = b"/" + server + b"/default/" + second + bytes(source) + b"/file"
    for _ in range(2):
        run_prune(
            repository, lambda points: [one for one in points if point_name(one) == first], grace_seconds=0
        )
    clock.now += 60
    entry = view.find(path)
    assert entry is not None
    assert view.content(entry).read(0, 5) == b"first"


def test_sets_with_odd_names_are_folders(repository: Repository, source: Path) -> None:
    """A set's name that could not be that of a folder is shown as in a URL, and can be entered."""
    odd = {"a/b": b"a%2Fb", "..": b"%2E%2E", "100%": b"100%25", "plain": b"plain"}
    for name in odd:
        back_up(repository, source, name)
    view = View(repository)
    (server,) = names(view, b"/")
    assert sorted(names(view, b"/" + server)) == sorted(odd.values())
    for shown in odd.values():
        assert len(names(view, b"/" + server + b"/" + shown)) == 2


def test_every_name_of_a_folder_of_many_pages_is_found(
    repository: Repository, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Look-ups in a split folder find what is there and nothing else, also when few pages are kept."""
    monkeypatch.setattr(page_cache, "ROWS_KEPT", 600)
    for number in range(3000):
        (source / f"{number * 2:05d}").touch()
    point = back_up(repository, source)
    view = View(repository)
    (server,) = names(view, b"/")
    folder = b"/" + server + b"/default/" + point + bytes(source) + b"/"
    for number in range(0, 3000, 7):
        entry = view.find(folder + b"%05d" % (2 * number))
        assert entry is not None
        assert entry.name == b"%05d" % (2 * number)
        assert view.find(folder + b"%05d" % (2 * number + 1)) is None
    assert view.find(folder + b"") is not None
    assert view.find(folder + b"00000/below") is None
    assert view.find(folder + b"!") is None
    assert len(names(view, folder)) == 3001


def test_inode_numbers_tie_hard_links_only(repository: Repository, source: Path) -> None:
    """Names of one file have one number, in each restore point another; all else has numbers of its own."""
    (source / "again").hardlink_to(source / "file")
    (source / "other").write_bytes(b"first" * 1000)
    points = [back_up(repository, source), back_up(repository, source)]
    view = View(repository)
    (server,) = names(view, b"/")
    numbers = []
    for point in points:
        for name in (b"file", b"again", b"other"):
            path = b"/" + server + b"/default/" + point + bytes(source) + b"/" + name
            entry = view.find(path)
            assert entry is not None
            numbers.append(inode_of(path, entry))
    assert numbers[0] == numbers[1] != numbers[2]
    assert numbers[3] == numbers[4] != numbers[5]
    assert len(set(numbers)) == 4
