"""Trees deeper than a path can name are reached, read and written by open directories alone."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from backstay.domain.entry import Entry
from backstay.filesystem.opening import DirectoryChain
from backstay.filesystem.owners import Owners
from backstay.filesystem.reader import open_regular, read_into
from backstay.filesystem.writer import TreeWriter


def read_whole(fd: int, size: int) -> bytes:
    """The first `size` bytes of an open file; fewer where it is shorter."""
    buffer = bytearray(size)
    return bytes(buffer[: read_into(fd, 0, memoryview(buffer))])


DEPTH = 300
COMPONENTS = tuple(b"level %d of a deep tree, caf\xe9 " % number for number in range(DEPTH))


@pytest.fixture
def root(tmp_path: Path) -> Iterator[int]:
    """An empty directory, open."""
    fd = os.open(tmp_path, os.O_RDONLY)
    yield fd
    os.close(fd)
    shutil.rmtree(tmp_path)


def open_files() -> int:
    """How many descriptors this process has open."""
    return len(os.listdir("/proc/self/fd"))


def file_entry(name: bytes, content: bytes) -> Entry:
    """A plain file of this user."""
    return Entry(name, 0o100640, os.geteuid(), os.getegid(), len(content), 10**18 + 7, 0, 0, 1)


def test_write_and_read_beyond_path_max(root: int, tmp_path: Path) -> None:
    """A file at a path of more than 8000 bytes is written, found by tar, and read again."""
    assert len(b"/".join(COMPONENTS)) > 8000
    writer = TreeWriter(Owners())
    with DirectoryChain(root, create=True) as chain:
        writer.write_small(
            chain.open(COMPONENTS), b"file", file_entry(b"file", b"deep"), b"deep", replace=True
        )
    with DirectoryChain(root) as chain:
        fd = open_regular(chain.open(COMPONENTS), b"file")
        assert read_whole(fd, 4) == b"deep"
        os.close(fd)
    listed = subprocess.run(
        ["tar", "-cf", "-", "--quoting-style=literal", "--no-recursion", "-C", tmp_path, "--recursion", "."],
        check=True,
        capture_output=True,
    ).stdout
    assert b"/".join(COMPONENTS) + b"/file" in listed


def test_few_descriptors_are_open_at_any_depth(root: int) -> None:
    """Fewer than a hundred directories are open however deep the walk goes, and none after it."""
    before = open_files()
    most = 0
    with DirectoryChain(root, create=True) as chain:
        for depth in [*range(DEPTH), *reversed(range(DEPTH)), DEPTH, 0, DEPTH, 150]:
            fd = chain.open(COMPONENTS[:depth])
            most = max(most, open_files() - before)
            with DirectoryChain(root) as fresh:
                if depth % 50 == 0:
                    assert os.path.samestat(os.fstat(fd), os.fstat(fresh.open(COMPONENTS[:depth])))
    assert most < 100
    assert open_files() == before


def test_going_up_step_by_step_does_not_start_from_the_root_each_time(root: int) -> None:
    """Finishing a deep branch from its end opens each directory about once, not once per level above it."""
    with DirectoryChain(root, create=True) as chain:
        chain.open(COMPONENTS)
        opened: set[int] = set()
        reopened = 0
        for depth in reversed(range(1, DEPTH)):
            fd = chain.open(COMPONENTS[:depth])
            reopened += fd not in opened
            opened.add(fd)
    assert reopened < 2 * DEPTH
