"""Repositories written by Backstay, read by the second reader, which knows only docs/format.md."""

import os
import random
import stat
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from second_reader import SecondReader, unpack

from backstay.backup.progress import Silent
from backstay.backup.workflow import BackupRequest, run_backup
from backstay.repository.keys import add_passphrase, rotate_recovery_key
from backstay.repository.prune import run_prune
from backstay.repository.repository import Repository
from backstay.storage.local import LocalStorage

PASSPHRASE = "correct horse bättery staple"
MANY = 2500
SEED = 7

Entry = dict[str, Any]


class Kept(NamedTuple):
    """A repository, its source, and what opens it."""

    folder: Path
    source: Path
    repository: Repository
    recovery_key: str

    def back_up(self) -> str:
        """Make a restore point, and return its id."""
        return run_backup(self.repository, BackupRequest([os.fsencode(self.source)]), Silent()).point.id.hex()


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kept:
    """An empty repository beside an empty source."""
    monkeypatch.setenv("BACKSTAY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("BACKSTAY_STATE", str(tmp_path / "state"))
    storage = LocalStorage(tmp_path / "repository", create=True)
    repository, recovery_key = Repository.create(storage, PASSPHRASE)
    (tmp_path / "source").mkdir()
    return Kept(tmp_path / "repository", tmp_path / "source", repository, str(recovery_key))


def make_tree(top: Path) -> None:
    """Every kind of entry, a large file, sparse ones, a long folder, bytes for several packs."""
    noise = random.Random(SEED)
    (top / "many").mkdir()
    for number in range(MANY):
        (top / "many" / f"{number:05d}.txt").write_bytes(b"%d\n" % number * (number % 200))
    (top / "large").write_bytes(noise.randbytes(40 << 20))
    (top / "empty").touch()
    (top / "inline").write_bytes(bytes(512))
    (top / "small").write_bytes(noise.randbytes(513))
    with (top / "sparse").open("wb") as sparse:
        sparse.write(noise.randbytes(5000))
        sparse.seek(3 << 30)
        sparse.write(noise.randbytes(2 << 20))
        sparse.truncate(4 << 30)
    with (top / "islands").open("wb") as islands:
        for number in range(300):
            islands.seek(number << 17)
            islands.write(b"island %d" % number)
    (top / "folder" / "deeper" / "deepest").mkdir(parents=True)
    (top / "folder" / "deeper" / "note").write_text("a note")
    os.link(top / "large", top / "folder" / "same as large")
    (top / "link").symlink_to("../nowhere")
    with open(os.fsencode(top) + b"/not \xff\xfe UTF-8\n", "wb") as odd:  # noqa: PTH123 - a name in bytes
        odd.write(b"odd name")
    os.mkfifo(top / "fifo", 0o640)
    os.mknod(top / "socket", stat.S_IFSOCK | 0o600)
    if os.geteuid() == 0:
        os.mknod(top / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
        os.chown(top / "small", 1234, 5678)
    (top / "small").chmod(0o4750)
    with suppress(OSError):
        os.setxattr(top / "small", "user.colour", b"blue\0\xff")
    os.utime(top / "inline", ns=(1, 1_234_567_890_123_456_789))
    os.utime(top / "empty", ns=(1, -5_000_000_001))


def compare(reader: SecondReader, point: str, source: Path) -> dict[bytes, Entry]:
    """Require that the restore point is the source, in content and metadata; return its entries by path."""
    found = dict(reader.walk(reader.points()[point]["root"]))
    top = os.fsencode(source)
    below = {path: entry for path, entry in found.items() if path == top or path.startswith(top + b"/")}
    expected = {top}
    for folder, folders, files in os.walk(top):
        expected.update(os.path.join(folder, name) for name in (*folders, *files))
    assert set(below) == expected
    for path, entry in below.items():
        compare_metadata(path, entry)
        if stat.S_ISREG(entry["mode"]):
            compare_content(reader, path, entry)
    return below


def compare_metadata(path: bytes, entry: Entry) -> None:
    """Require that the entry says what the file system says."""
    st = os.lstat(path)
    assert (entry["mode"], entry["uid"], entry["gid"]) == (st.st_mode, st.st_uid, st.st_gid), path
    assert (entry["mtime_ns"], entry["ctime_ns"]) == (st.st_mtime_ns, st.st_ctime_ns), path
    assert (entry["inode"], entry["nlink"]) == (st.st_ino, st.st_nlink), path
    assert entry["rdev"] == st.st_rdev, path
    assert entry["grade"] == 1, path
    if not stat.S_ISDIR(st.st_mode):
        assert entry["size"] == st.st_size, path
        assert entry["device"] == (st.st_dev if st.st_nlink > 1 else 0), path
    if stat.S_ISLNK(st.st_mode):
        assert entry["inline"] == os.readlink(path)
    with suppress(OSError):
        names = os.listxattr(path, follow_symlinks=False)
        values = {os.fsencode(name): os.getxattr(path, name, follow_symlinks=False) for name in names}
        assert dict(entry["xattrs"]) == values, path


def compare_content(reader: SecondReader, path: bytes, entry: Entry) -> None:
    """Require that the pieces of a file are its bytes, and its holes holes."""
    fd = os.open(path, os.O_RDONLY)
    try:
        if entry["inline"] is not None:
            assert os.pread(fd, 1 << 20, 0) == entry["inline"], path
            return
        offset = 0
        for length, content in reader.pieces(entry["chunks"]):
            if content is None:
                with suppress(OSError):  # ENXIO: no data up to the end
                    assert os.lseek(fd, offset, os.SEEK_DATA) >= offset + length, path
            else:
                assert os.pread(fd, length, offset) == content, path
            offset += length
        assert offset == os.fstat(fd).st_size, path
    finally:
        os.close(fd)


def test_everything_is_read_back(kept: Kept) -> None:
    """Whatever was backed up, a reader that knows the page alone reads back exactly."""
    make_tree(kept.source)
    point = kept.back_up()
    reader = SecondReader(kept.folder, PASSPHRASE)
    below = compare(reader, point, kept.source)
    top = os.fsencode(kept.source)
    assert below[top + b"/sparse"]["chunks"][-1][1] is None
    assert any(chunk[2] for chunk in below[top + b"/islands"]["chunks"])
    assert len(list(kept.folder.glob("packs/*/*"))) >= 3
    manifest = reader.points()[point]
    details = reader.details(manifest)
    assert details["paths"] == [top]
    assert details["problems"] == []
    assert [step[1] for step in details["steps"]] == ["done"] * 6
    assert manifest["totals"][0] == sum(stat.S_ISREG(entry["mode"]) for entry in below.values())
    assert below[top]["totals"][3] == manifest["totals"][3]
    assert (manifest["sequence"], manifest["previous"]) == (1, b"")
    page = below[top + b"/many"]["page"]
    assert [entry["name"] for entry in reader.entries(page)] == [b"%05d.txt" % n for n in range(MANY)]
    assert unpack(reader.blob(page))[1] == 1, "a long folder is split into pages"
    by_recovery_key = SecondReader(kept.folder, kept.recovery_key.lower(), from_trailers=True)
    compare(by_recovery_key, point, kept.source)


def test_points_form_a_chain_and_outlive_prune_and_repacking(kept: Kept) -> None:
    """After points were taken out, packs rewritten and others deleted, what remains is read back."""
    make_tree(kept.source)
    first = kept.back_up()
    noise = random.Random(SEED + 1)
    for number in range(0, MANY, 3):
        (kept.source / "many" / f"{number:05d}.txt").write_bytes(noise.randbytes(1500))
    with (kept.source / "large").open("r+b") as large:
        large.truncate(30 << 20)
    second = kept.back_up()
    points = SecondReader(kept.folder, PASSPHRASE).points()
    assert points[second]["previous"].hex() == first
    assert [point["sequence"] for point in points.values()] == [1, 2]
    before = {path.name for path in kept.folder.glob("packs/*/*")}
    run_prune(
        kept.repository,
        lambda all_points: [point for point in all_points if point.id.hex() == first],
        grace_seconds=0,
        most_unused=0,
    )
    after = {path.name for path in kept.folder.glob("packs/*/*")}
    assert before - after, "packs were deleted"
    assert after - before, "packs were rewritten"
    for from_trailers in (False, True):
        reader = SecondReader(kept.folder, kept.recovery_key, from_trailers=from_trailers)
        assert list(reader.points()) == [second]
        compare(reader, second, kept.source)


def test_keys_may_change_between_points(kept: Kept) -> None:
    """What was sealed to an earlier public key is read with the keyring of today."""
    (kept.source / "old").write_bytes(b"old" * 1000)
    first = kept.back_up()
    changed = add_passphrase(kept.repository.storage, kept.repository.secrets, "second", "another passphrase")
    changed, recovery_key = rotate_recovery_key(kept.repository.storage, changed)
    (kept.source / "new").write_bytes(b"new" * 1000)
    second = kept._replace(repository=Repository.open_with(kept.repository.storage, changed)).back_up()
    for secret in (PASSPHRASE, "another passphrase", str(recovery_key)):
        reader = SecondReader(kept.folder, secret)
        assert list(reader.points()) == [first, second]
        compare(reader, second, kept.source)
    with pytest.raises(ValueError, match="no slot opens"):
        SecondReader(kept.folder, kept.recovery_key)


def test_a_flipped_bit_is_noticed(kept: Kept) -> None:
    """The second reader, too, refuses a pack that is not what its name says."""
    (kept.source / "file").write_bytes(b"content" * 1000)
    kept.back_up()
    pack = max(kept.folder.glob("packs/*/*"), key=lambda path: path.stat().st_size)
    data = bytearray(pack.read_bytes())
    data[len(data) // 2] ^= 1
    pack.write_bytes(data)
    with pytest.raises(ValueError, match="not what its name says"):
        SecondReader(kept.folder, PASSPHRASE, from_trailers=True)
