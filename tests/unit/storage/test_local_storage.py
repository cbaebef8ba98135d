import errno
import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from backstay.domain.errors import ObjectExists, ObjectNotFound, StorageError, StorageFull, StorageUnavailable
from backstay.storage.local import LocalStorage
from backstay.storage.os_errors import storage_error

unprivileged = pytest.mark.skipif(os.geteuid() == 0, reason="root may do everything")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder to be."""
    return tmp_path / "store"


@pytest.fixture
def storage(root: Path) -> LocalStorage:
    """A new storage in `root`."""
    return LocalStorage(root, create=True)


def asides(root: Path) -> list[Path]:
    """Every file under way."""
    return [path for path in (root / ".aside").iterdir() if path.name != "lock"]


def test_a_missing_folder_is_not_made(root):
    """Without `create` nothing is made, and the message names the folder."""
    with pytest.raises(StorageError, match="store") as caught:
        LocalStorage(root)
    assert caught.value.hint
    assert not root.exists()


def test_a_file_is_no_storage(tmp_path):
    """A path to a file is refused, with `create` and without."""
    (tmp_path / "file").write_bytes(b"")
    for create in (False, True):
        with pytest.raises(StorageError, match="file"):
            LocalStorage(tmp_path / "file", create=create)


def test_create_makes_the_folders_above(tmp_path):
    """`create` makes the whole path; the folder itself is closed to other users."""
    storage = LocalStorage(tmp_path / "a/b/c", create=True)
    storage.put("x", [b"1"])
    assert stat.S_IMODE((tmp_path / "a/b/c").stat().st_mode) == 0o700


def test_create_leaves_what_is_there(root, storage):
    """`create` on an existing storage opens it."""
    storage.put("x", [b"1"])
    assert LocalStorage(root, create=True).get("x") == b"1"


def test_modes(root, storage):
    """Objects can be read by their owner only and written by nobody; folders are the owner's."""
    storage.put("packs/ab/x", [b"1"])
    assert stat.S_IMODE((root / "packs/ab/x").stat().st_mode) == 0o400
    for folder in ("packs", "packs/ab", ".aside"):
        assert stat.S_IMODE((root / folder).stat().st_mode) == 0o700


def test_path_of(root, storage):
    """The path is that of the object's file, and never outside."""
    storage.put("packs/ab/x", [b"123"])
    assert storage.path_of("packs/ab/x") == root / "packs/ab/x"
    assert storage.path_of("packs/ab/x").read_bytes() == b"123"
    with pytest.raises(StorageError):
        storage.path_of("../x")


def test_nothing_stays_aside(root, storage):
    """After any end of a put, good or bad, no unfinished file and no second link remains."""
    storage.put("x", [b"1"])
    storage.put("x", [b"1"])
    with pytest.raises(ObjectExists):
        storage.put("x", [b"2"])
    with pytest.raises(StorageError):
        storage.put("x/y", [b"3"])
    assert asides(root) == []
    assert (root / "x").stat().st_nlink == 1


def test_opening_writes_nothing(root, storage):
    """A storage that is only read can lie on a medium that cannot be written."""
    root.joinpath("x").write_bytes(b"1")
    reader = LocalStorage(root)
    assert reader.get("x") == b"1"
    assert [info.name for info in reader.list("")] == ["x"]
    reader.sync()
    assert [path.name for path in root.iterdir()] == ["x"]


def test_foreign_files_are_not_listed(root, storage):
    """What cannot be an object (hidden, odd names, sockets, broken links) is passed over."""
    storage.put("p/x", [b"1"])
    (root / "p" / ".nfs0001").write_bytes(b"")
    (root / "lost+found").mkdir()
    (root / "lost+found" / "f").write_bytes(b"")
    (root / "p" / "with space").write_bytes(b"")
    Path(os.fsdecode(os.fsencode(root / "p") + b"/\xff")).write_bytes(b"")
    os.mkfifo(root / "p" / "fifo")
    (root / "p" / "broken").symlink_to("nowhere")
    assert [info.name for info in storage.list("")] == ["p/x"]


def test_linked_folder(root, storage, tmp_path):
    """A folder of objects that was moved elsewhere and linked is read and listed alike."""
    storage.put("packs/ab/x", [b"1"])
    (root / "packs").rename(tmp_path / "elsewhere")
    (root / "packs").symlink_to(tmp_path / "elsewhere")
    assert storage.get("packs/ab/x") == b"1"
    assert [info.name for info in storage.list("")] == ["packs/ab/x"]


def test_broken_link_in_the_way(root, storage):
    """A broken link under the object's name is an error that says so, not an endless loop."""
    storage.put("a", [b"1"])
    (root / "x").symlink_to("nowhere")
    with pytest.raises(StorageError, match="name is taken"):
        storage.put("x", [b"1"])


def test_listing_tells_the_time(storage):
    """`modified` is when the object was put."""
    before = time.time() - 2
    storage.put("x", [b"1"])
    (info,) = storage.list("")
    assert before < info.modified < time.time() + 2


def test_relative_path_is_kept(tmp_path, monkeypatch):
    """The storage stays where it was opened when the working directory changes."""
    monkeypatch.chdir(tmp_path)
    storage = LocalStorage("store", create=True)
    monkeypatch.chdir("/")
    storage.put("x", [b"1"])
    assert (tmp_path / "store" / "x").read_bytes() == b"1"


@pytest.mark.parametrize("leaves_mountpoint", [True, False])
def test_vanished(root, storage, leaves_mountpoint):
    """After the disk is unmounted every method says so; nothing seems absent, and nothing is made anew."""
    storage.put("p/x", [b"1"])
    storage.sync()
    storage.put("top", [b"1"])
    root.rename(root.with_name("moved"))
    if leaves_mountpoint:
        root.mkdir()
    for attempt in (
        lambda: storage.get("p/x"),
        lambda: storage.size("p/x"),
        lambda: storage.exists("p/x"),
        storage.sync,
        lambda: list(storage.list("")),
        lambda: list(storage.list("p/")),
        lambda: storage.delete("p/x"),
        lambda: storage.put("p/y", [b"2"]),
        storage.free_bytes,
    ):
        with pytest.raises(StorageError, match="vanished") as caught:
            attempt()
        assert not isinstance(caught.value, ObjectNotFound)
        assert "mounted" in caught.value.hint
    assert not root.exists() or list(root.iterdir()) == []
    if leaves_mountpoint:
        root.rmdir()
    root.with_name("moved").rename(root)
    storage.put("p/y", [b"2"])
    storage.sync()
    assert storage.get("p/x") == b"1"


def test_folders_that_were_removed_are_made_again(root, storage):
    """A folder of objects that somebody removed while it was empty is no obstacle."""
    storage.put("p/q/x", [b"1"])
    storage.delete("p/q/x")
    (root / "p/q").rmdir()
    storage.sync()
    storage.put("p/q/y", [b"2"])
    storage.sync()
    assert storage.get("p/q/y") == b"2"


@unprivileged
def test_no_permission(root, storage):
    """A folder that may not be written is named, with a hint about its permissions."""
    storage.put("x", [b"1"])
    (root / ".aside").chmod(0o500)
    with pytest.raises(StorageError, match="store y") as caught:
        storage.put("y", [b"1"])
    assert "permissions" in caught.value.hint
    (root / ".aside").chmod(0o700)


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOSPC, StorageFull),
        (errno.EDQUOT, StorageFull),
        (errno.EIO, StorageUnavailable),
        (errno.ESTALE, StorageUnavailable),
        (errno.ETIMEDOUT, StorageUnavailable),
        (errno.ENOTCONN, StorageUnavailable),
        (errno.EMFILE, StorageUnavailable),
        (errno.EACCES, StorageError),
        (errno.EPERM, StorageError),
        (errno.EROFS, StorageError),
        (errno.EXDEV, StorageError),
        (errno.ENAMETOOLONG, StorageError),
    ],
)
def test_meaning_of_errors(number, kind):
    """Each errno becomes the kind of error that says whether to retry, to make room or to give up."""
    error = storage_error(OSError(number, os.strerror(number), "/path"), "store packs/x in /srv")
    assert type(error) is kind
    assert str(error) == f"cannot store packs/x in /srv: {os.strerror(number)}"
    assert error.hint or number == errno.ENAMETOOLONG


def _start(code: str, *args: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", code, *map(str, args)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


LEAVE_ASIDE = """
import os, sys
from pathlib import Path
from backstay.storage.asides import Asides
with Asides(Path(sys.argv[1])).written([memoryview(b"half")]) as path:
    print(path.name, flush=True)
    if sys.argv[2] == "die":
        os._exit(0)
    sys.stdin.read()
"""


def test_sweep(root, storage):
    """The first put clears away what dead processes left and keeps what others may be writing."""
    aside = root / ".aside"
    aside.mkdir()
    dead = _start(LEAVE_ASIDE, aside, "die")
    dead_name = dead.stdout.readline().strip()
    dead.wait()
    assert (aside / dead_name).exists()
    host, _, instance, _ = dead_name.split("-")
    alive = aside / f"{host}-{os.getppid()}-{instance}-0"
    elsewhere, old = (aside / f"{'0' * 12}-{dead.pid}-{instance}-{n}" for n in (1, 2))
    foreign = aside / "not ours"
    for path in (alive, elsewhere, old, foreign):
        path.write_bytes(b"")
    for path in (alive, old, foreign):
        os.utime(path, (0, 0))
    storage.put("x", [b"1"])
    assert set(aside.iterdir()) == {alive, elsewhere, foreign}


def test_an_aside_that_vanishes_may_be_retried(root, storage, monkeypatch):
    """When another host swept our unfinished file, the put fails in a way that a retry heals."""
    storage.put("x", [b"1"])
    sync = os.fsync

    def sync_and_lose(fd: int) -> None:
        sync(fd)
        for path in asides(root):
            path.unlink()

    monkeypatch.setattr(os, "fsync", sync_and_lose)
    with pytest.raises(StorageUnavailable, match="removed meanwhile"):
        storage.put("y", [b"2"])
    monkeypatch.undo()
    storage.put("y", [b"2"])
    assert storage.get("y") == b"2"
