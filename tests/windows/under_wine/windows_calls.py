"""What the engine relies upon, of the calls that Windows makes of those of Linux."""

import ctypes
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from backstay.system.calls import os

WINE = hasattr(ctypes.WinDLL("ntdll"), "wine_get_version")
NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[int]:
    """An open, empty folder."""
    fd = os.open(str(tmp_path), os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    yield fd
    os.close(fd)


def make(folder: int, name: bytes, content: bytes = b"") -> None:
    """A new file."""
    fd = os.open(name, NEW, 0o600, dir_fd=folder)
    os.pwrite(fd, content, 0)
    os.close(fd)


def content_of(folder: int, name: bytes) -> bytes:
    """All of a file."""
    fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=folder)
    try:
        return os.pread(fd, 1 << 20, 0)
    finally:
        os.close(fd)


def test_reads_and_writes_where_it_is_told(folder: int) -> None:
    """Positions are those of the call, gaps read as zeros, and the end of a file ends a read."""
    fd = os.open(b"file", NEW, 0o600, dir_fd=folder)
    assert os.pwrite(fd, b"end", 10) == 3
    assert os.pwrite(fd, bytearray(b"begin"), 0) == 5
    assert os.pwrite(fd, memoryview(b"-"), 5) == 1
    assert os.pread(fd, 100, 0) == b"begin-\0\0\0\0end"
    buffer = memoryview(bytearray(4))
    assert os.preadv(fd, [buffer], 11) == 2
    assert bytes(buffer[:2]) == b"nd"
    assert os.preadv(fd, [buffer], 50) == 0
    os.close(fd)


def test_holes_are_found_or_all_is_data(folder: int) -> None:
    """What is written is data, the end is no data, and a file system that knows no holes has none."""
    fd = os.open(b"file", NEW, 0o600, dir_fd=folder)
    os.ftruncate(fd, 8 << 20)
    os.pwrite(fd, b"x", 5 << 20)
    assert os.lseek(fd, 0, os.SEEK_DATA) <= 5 << 20
    assert os.lseek(fd, 5 << 20, os.SEEK_DATA) == 5 << 20
    assert 5 << 20 < os.lseek(fd, 5 << 20, os.SEEK_HOLE) <= 8 << 20
    with pytest.raises(OSError, match=r"\[Errno 6\]"):
        os.lseek(fd, 8 << 20, os.SEEK_DATA)
    assert os.fstat(fd).st_size == 8 << 20
    os.close(fd)


def test_tells_what_a_file_is(folder: int) -> None:
    """By name and open, a file and a folder have the stat that the engine goes by."""
    make(folder, b"file", b"12345")
    os.mkdir(b"below", dir_fd=folder)
    st = os.stat(b"file", dir_fd=folder, follow_symlinks=False)
    assert (stat.S_ISREG(st.st_mode), st.st_size, st.st_nlink) == (True, 5, 1)
    fd = os.open(b"file", os.O_RDONLY | os.O_NOFOLLOW, dir_fd=folder)
    assert os.fstat(fd)._replace(st_atime_ns=0) == st._replace(st_atime_ns=0)
    os.close(fd)
    below = os.stat(b"below", dir_fd=folder, follow_symlinks=False)
    assert stat.S_ISDIR(below.st_mode)
    assert below.st_dev == st.st_dev == os.fstat(folder).st_dev
    assert len({below.st_ino, st.st_ino, os.fstat(folder).st_ino}) == 3


def test_times_are_kept_to_a_tenth_of_a_microsecond(folder: int) -> None:
    """A modification time comes back, and setting it moves the change time."""
    make(folder, b"file")
    before = os.stat(b"file", dir_fd=folder, follow_symlinks=False)
    os.utime(b"file", ns=(1_000_000_000, 1_234_567_890_123_456_700), dir_fd=folder)
    after = os.stat(b"file", dir_fd=folder, follow_symlinks=False)
    assert after.st_mtime_ns == 1_234_567_890_123_456_700
    assert after.st_ctime_ns >= before.st_ctime_ns > after.st_mtime_ns


def test_hard_links_are_one_file(folder: int) -> None:
    """Two names of a file have one number, and its count of names."""
    make(folder, b"one", b"x")
    os.link(b"one", b"two", src_dir_fd=folder, dst_dir_fd=folder)
    one, two = (os.stat(name, dir_fd=folder, follow_symlinks=False) for name in (b"one", b"two"))
    assert os.path.samestat(one, two)
    assert one.st_nlink == 2


@pytest.mark.skipif(WINE, reason="wine 8 has no FileRenameInformationEx")
def test_rename_replaces_what_is_open(folder: int) -> None:
    """A rename takes the place of a file that somebody reads, who goes on reading the old one."""
    make(folder, b"old", b"old")
    make(folder, b"new", b"new")
    reader = os.open(b"old", os.O_RDONLY | os.O_NOFOLLOW, dir_fd=folder)
    os.rename(b"new", b"old", src_dir_fd=folder, dst_dir_fd=folder)
    assert os.listdir(folder) == ["old"]
    assert content_of(folder, b"old") == b"new"
    assert os.pread(reader, 10, 0) == b"old"
    os.close(reader)


def test_folders_never_yield_to_files(folder: int) -> None:
    """A rename onto a folder, an unlink of one, and an rmdir of one with something in it are refused."""
    make(folder, b"file")
    os.mkdir(b"below", dir_fd=folder)
    with pytest.raises(IsADirectoryError):
        os.rename(b"file", b"below", src_dir_fd=folder, dst_dir_fd=folder)
    with pytest.raises(IsADirectoryError):
        os.unlink(b"below", dir_fd=folder)
    below = os.open(b"below", os.O_RDONLY | os.O_DIRECTORY, dir_fd=folder)
    make(below, b"inner")
    with pytest.raises(OSError, match="not empty"):
        os.rmdir(b"below", dir_fd=folder)
    os.unlink(b"inner", dir_fd=below)
    os.close(below)
    os.rmdir(b"below", dir_fd=folder)
    assert os.listdir(folder) == ["file"]


def test_errors_are_those_of_linux(folder: int) -> None:
    """What the engine tells apart is told apart."""
    make(folder, b"file")
    with pytest.raises(FileExistsError):
        make(folder, b"file")
    with pytest.raises(FileExistsError):
        os.mkdir(b"file", dir_fd=folder)
    with pytest.raises(FileNotFoundError):
        os.stat(b"none", dir_fd=folder, follow_symlinks=False)
    with pytest.raises(FileNotFoundError):
        os.unlink(b"none", dir_fd=folder)
    with pytest.raises(NotADirectoryError):
        os.open(b"file", os.O_RDONLY | os.O_DIRECTORY, dir_fd=folder)


@pytest.mark.parametrize("name", [rb"..\out", b"file:stream", b""])
def test_names_that_lead_elsewhere_are_refused(folder: int, name: bytes) -> None:
    """A name from a restore point reaches neither another folder nor a stream."""
    with pytest.raises(OSError, match="not a name"):
        os.open(name, NEW, 0o600, dir_fd=folder)
    assert os.listdir(folder) == []


def test_lists_every_name_once(folder: int) -> None:
    """A listing that needs many calls is whole, and gives each entry's stat."""
    names = {f"{'n' * 100}-{number}" for number in range(700)}
    for name in names:
        make(folder, name.encode())
    with os.scandir(folder) as entries:
        found = [(entry.name, entry.stat(follow_symlinks=False).st_mode) for entry in entries]
    assert len(found) == 700
    assert {name for name, mode in found if stat.S_ISREG(mode)} == names
    assert len(os.listdir(folder)) == 700


def test_paths_beyond_260_characters(folder: int) -> None:
    """Folders in folders, far deeper than what Windows programs call a path."""
    fds = [folder]
    for _ in range(20):
        os.mkdir(b"deeper" * 20, dir_fd=fds[-1])
        fds.append(os.open(b"deeper" * 20, os.O_RDONLY | os.O_DIRECTORY, dir_fd=fds[-1]))
    make(fds[-1], b"bottom", b"reached")
    assert content_of(fds[-1], b"bottom") == b"reached"
    for fd in fds[1:]:
        os.close(fd)


def test_paths_lead_where_windows_paths_do(tmp_path: Path) -> None:
    """The engine's path of a folder is the folder, long or short, by any spelling."""
    (tmp_path / "file").write_bytes(b"1")
    place = os.path.abspath(os.fsencode(str(tmp_path)))
    assert place.startswith(b"/C:/")
    assert os.path.isdir(place)
    assert os.path.realpath(place) == place
    assert os.stat(place + b"/file").st_size == 1
    with os.scandir(place) as entries:
        assert [entry.name for entry in entries] == ["file"]
    os.makedirs(place + b"/a/b/c", exist_ok=True)
    assert os.path.isdir(str(tmp_path / "a" / "b" / "c"))


def test_the_root_has_the_drives() -> None:
    """`/` is a folder of drives, in which none can be made."""
    fd = os.open(b"/", os.O_RDONLY | os.O_DIRECTORY)
    assert "C:" in os.listdir(fd)
    assert stat.S_ISDIR(os.stat(b"C:", dir_fd=fd, follow_symlinks=False).st_mode)
    with pytest.raises(FileExistsError):
        os.mkdir(b"C:", dir_fd=fd)
    with pytest.raises(FileNotFoundError):
        os.mkdir(b"Q:", dir_fd=fd)
    os.close(fd)


def test_room_is_told(folder: int) -> None:
    """A restore learns how much room there is."""
    there = os.fstatvfs(folder)
    assert 0 < there.f_bavail * there.f_frsize <= there.f_blocks * there.f_frsize
