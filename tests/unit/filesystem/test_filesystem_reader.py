"""Reading one file for a backup, also while others write to it."""

import errno
import fcntl
import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from backstay.filesystem.extras import stat_of
from backstay.filesystem.reader import open_regular, read_extent, read_into, same_version
from backstay.filesystem.reasons import reason_of
from backstay.filesystem.sparse import data_extents


def read_whole(fd: int, size: int) -> bytes:
    """The first `size` bytes of an open file; fewer where it is shorter."""
    buffer = bytearray(size)
    return bytes(buffer[: read_into(fd, 0, memoryview(buffer))])


BLOCK = 1 << 16


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[int]:
    """The test's directory, open."""
    fd = os.open(tmp_path, os.O_RDONLY)
    yield fd
    os.close(fd)


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[int]:
    """An empty file, open for reading and writing."""
    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    yield fd
    os.close(fd)


def test_links_are_not_followed(folder: int, tmp_path: Path) -> None:
    """A file that was swapped for a symbolic link is refused, in words."""
    (tmp_path / "link").symlink_to("/etc/passwd")
    with pytest.raises(OSError, match="symbolic") as caught:
        open_regular(folder, b"link")
    assert reason_of(caught.value) == "became another kind of file while the backup ran"


def test_a_fifo_does_not_block(folder: int, tmp_path: Path) -> None:
    """A file that was swapped for a fifo nobody writes to is opened at once; fstat tells it."""
    os.mkfifo(tmp_path / "fifo")
    os.close(open_regular(folder, b"fifo"))


def test_the_access_time_stays(folder: int, tmp_path: Path) -> None:
    """Reading for a backup does not touch the access time."""
    (tmp_path / "file").write_bytes(b"content")
    os.utime(tmp_path / "file", ns=(1, 10**18))
    fd = open_regular(folder, b"file")
    assert read_whole(fd, 7) == b"content"
    os.close(fd)
    assert (tmp_path / "file").stat().st_atime_ns == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
def test_a_file_of_another_owner_is_read(folder: int, tmp_path: Path) -> None:
    """Who may read a file but not leave its access time alone can still back it up."""
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "secret").write_bytes(b"content")
    (tmp_path / "file").chmod(0o644)
    (tmp_path / "secret").chmod(0o600)
    tmp_path.chmod(0o755)
    os.seteuid(65534)
    try:
        fd = open_regular(folder, b"file")
        assert read_whole(fd, 7) == b"content"
        os.close(fd)
        with pytest.raises(PermissionError) as caught:
            open_regular(folder, b"secret")
        assert reason_of(caught.value) == "permission denied"
    finally:
        os.seteuid(0)


def test_a_leased_file_is_waited_for(folder: int, tmp_path: Path) -> None:
    """A file under another process's lease (as Samba takes for its clients) is read once it is given up."""
    (tmp_path / "file").write_bytes(b"content")
    ready, tell = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            fd = os.open(tmp_path / "file", os.O_RDWR)
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGIO})
            fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
            os.write(tell, b"x")
            signal.sigtimedwait({signal.SIGIO}, 20)
            time.sleep(0.1)
            fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
            os._exit(0)
        finally:
            os._exit(1)
    os.read(ready, 1)
    fd = open_regular(folder, b"file")
    assert read_whole(fd, 7) == b"content"
    for each in (fd, ready, tell):
        os.close(each)
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.parametrize(
    ("size", "seen"), [(0, 0), (5, 5), (5, 3), (3, 5), (1 << 20, 1 << 20), (1, 0), (0, 1)]
)
def test_a_small_read_gives_what_was_seen(opened: int, size: int, seen: int) -> None:
    """A file of `size` bytes, `seen` when it had others, gives what is there, never more than was seen."""
    content = random.Random(size).randbytes(size)
    os.write(opened, content)
    os.lseek(opened, 0, os.SEEK_SET)
    assert read_whole(opened, seen) == content[:seen]


def test_read_into_fills_or_tells_the_end(opened: int) -> None:
    """The buffer is filled from the offset; a shorter count means the end of the file."""
    os.write(opened, b"0123456789")
    buffer = memoryview(bytearray(4))
    assert (read_into(opened, 2, buffer), bytes(buffer)) == (4, b"2345")
    assert (read_into(opened, 8, buffer), bytes(buffer[:2])) == (2, b"89")
    assert read_into(opened, 10, buffer) == 0


@pytest.mark.parametrize("size", [1, BLOCK, BLOCK + 1, 5 * BLOCK - 1])
def test_windows_are_the_extent(opened: int, size: int) -> None:
    """The windows of an extent, joined, are its bytes; all but the last are as long as was asked."""
    content = random.Random(size).randbytes(size + 2000)
    os.write(opened, content)
    views = [bytes(view) for view in read_extent(opened, 1000, size, room, BLOCK)]
    assert b"".join(views) == content[1000 : 1000 + size]
    assert all(len(view) == BLOCK for view in views[:-1])


def test_windows_end_where_the_file_was_cut(opened: int) -> None:
    """A file that is cut while it is read gives what is left, and comes to an end."""
    os.write(opened, b"x" * (4 * BLOCK))
    windows = read_extent(opened, 0, 4 * BLOCK, room, BLOCK)
    next(windows)
    os.ftruncate(opened, BLOCK + 10)
    assert [len(view) for view in windows] == [10]


def test_a_large_file_leaves_the_page_cache_as_it_was(opened: int) -> None:
    """Hardly anything that was not in the page cache is left there (the kernel may); the rest stays."""
    size, window = 80 << 20, 8 << 20
    for offset in range(0, size, window):
        os.pwrite(opened, b"x" * window, offset)
    os.fsync(opened)
    os.posix_fadvise(opened, 0, 0, os.POSIX_FADV_DONTNEED)
    os.posix_fadvise(opened, 0, 0, os.POSIX_FADV_RANDOM)
    os.pread(opened, window, 3 * window)
    before = [is_cached(opened, offset) for offset in range(0, size, 1 << 20)]
    if before.count(False) < 40:
        pytest.skip("the file system of the temporary folder keeps files in memory")
    assert all(before[24:32])
    assert sum(len(view) for view in read_extent(opened, 0, size, room, window)) == size
    after = [is_cached(opened, offset) for offset in range(0, size, 1 << 20)]
    assert sum(now and not then for then, now in zip(before, after, strict=True)) <= 16
    assert any(after[24:32])


def room(size: int) -> memoryview:
    """Memory for a window."""
    return memoryview(bytearray(size))


def is_cached(fd: int, offset: int) -> bool:
    """Whether a page can be read without waiting for the disk."""
    try:
        os.preadv(fd, [bytearray(4096)], offset, os.RWF_NOWAIT)
    except BlockingIOError:
        return False
    return True


def test_extents_cover_the_file(opened: int) -> None:
    """Extents are in order, without gaps, holes read as zeros, and all data lies in data extents."""
    chance = random.Random(7)
    for _ in range(20):
        os.ftruncate(opened, 0)
        size = chance.randrange(1, 60 * BLOCK)
        os.ftruncate(opened, size)
        for _ in range(chance.randrange(4)):
            os.pwrite(opened, b"data", chance.randrange(size))
        size = os.fstat(opened).st_size
        end = 0
        for extent in data_extents(opened, size):
            assert extent.offset == end
            assert extent.length > 0
            end += extent.length
            if extent.is_hole:
                assert not any(os.pread(opened, extent.length, extent.offset))
        assert end == size


def test_extents_of_a_file_that_is_cut_meanwhile(opened: int) -> None:
    """The extents end where the file ends now, wherever it was cut."""
    for cut in (0, BLOCK // 2, 3 * BLOCK, 6 * BLOCK):
        os.ftruncate(opened, 0)
        os.ftruncate(opened, 10 * BLOCK)
        for block in (0, 4, 9):
            os.pwrite(opened, b"x" * BLOCK, block * BLOCK)
        extents = data_extents(opened, 10 * BLOCK)
        first = next(extents)
        os.ftruncate(opened, cut)
        last = [first, *extents][-1]
        assert last.offset + last.length <= max(cut, first.length)


def test_extents_of_a_file_that_has_grown(opened: int) -> None:
    """Nothing beyond the size that was seen is reported."""
    os.pwrite(opened, b"x" * BLOCK, 0)
    os.ftruncate(opened, 8 * BLOCK)
    assert sum(extent.length for extent in data_extents(opened, 4 * BLOCK)) == 4 * BLOCK


def test_every_change_makes_another_version(opened: int, tmp_path: Path) -> None:
    """A write, another time, and another file under the name are seen; nothing at all is the same version."""
    os.write(opened, b"content")
    st = os.fstat(opened)
    before = stat_of(b"file", st)
    assert same_version(before, os.fstat(opened))
    for change in ("size", "mtime_ns", "ctime_ns", "inode"):
        assert not same_version(before._replace(**{change: getattr(before, change) + 1}), st)
    os.utime(tmp_path / "file", ns=(st.st_atime_ns, st.st_mtime_ns))
    assert not same_version(before, os.fstat(opened))


def test_reasons_are_words() -> None:
    """Known errors get clear words, unknown ones the system's own, and none is empty."""
    assert reason_of(OSError(errno.EIO, "x")) == "input/output error"
    assert reason_of(FileNotFoundError(errno.ENOENT, "x")) == "vanished while the backup ran"
    assert reason_of(OSError(errno.EXDEV, os.strerror(errno.EXDEV))) == "invalid cross-device link"
    assert reason_of(OSError("plain")) == "plain"
