"""Opening directories below a root."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from backstay.filesystem.opening import DirectoryChain, open_directory


@pytest.fixture
def root(tmp_path: Path) -> Iterator[int]:
    """An empty directory, open."""
    fd = os.open(tmp_path, os.O_RDONLY)
    yield fd
    os.close(fd)


def test_a_symbolic_link_is_not_followed(root: int, tmp_path: Path) -> None:
    """A folder that was swapped for a link leads nowhere, neither for reading nor for writing."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "link").symlink_to("outside")
    for create in (False, True):
        with DirectoryChain(root, create=create) as chain:
            with pytest.raises(NotADirectoryError):
                chain.open((b"link", b"below"))
    assert list((tmp_path / "outside").iterdir()) == []


def test_the_same_directory_is_opened_once(root: int) -> None:
    """Asking for the same directory again, also by an equal list, gives the same descriptor."""
    with DirectoryChain(root, create=True) as chain:
        first = chain.open((b"a", b"b"))
        assert chain.open([b"a", b"b"]) == first
        assert chain.open((b"a", b"b")) == first


def test_the_root_itself_stays_open(root: int) -> None:
    """No components mean the root, which the chain does not close."""
    with DirectoryChain(root) as chain:
        assert chain.open(()) == root
    os.fstat(root)


def test_new_directories_are_known_and_private(root: int, tmp_path: Path) -> None:
    """A directory that the chain made is told apart from one that was there, and is closed to others."""
    (tmp_path / "old").mkdir(mode=0o755)
    with DirectoryChain(root, create=True) as chain:
        chain.open((b"old",))
        assert not chain.is_new
        chain.open((b"old", b"new"))
        assert chain.is_new
        chain.open((b"old",))
        assert not chain.is_new
    assert (tmp_path / "old" / "new").stat().st_mode & 0o777 == 0o700


def test_after_a_failure_the_chain_goes_on(root: int, tmp_path: Path) -> None:
    """A directory that is not there costs that request only."""
    (tmp_path / "a" / "b").mkdir(parents=True)
    with DirectoryChain(root) as chain:
        with pytest.raises(FileNotFoundError):
            chain.open((b"a", b"gone", b"c"))
        assert os.path.samestat(os.fstat(chain.open((b"a", b"b"))), (tmp_path / "a" / "b").stat())


def test_reading_leaves_the_access_time(root: int, tmp_path: Path) -> None:
    """Listing a directory for a backup does not touch its access time."""
    (tmp_path / "folder").mkdir()
    os.utime(tmp_path / "folder", ns=(1, 10**18))
    fd = open_directory(root, b"folder")
    os.listdir(fd)
    os.close(fd)
    assert (tmp_path / "folder").stat().st_atime_ns == 1
