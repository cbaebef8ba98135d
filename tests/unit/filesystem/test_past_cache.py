"""Pieces of large files past the page cache: every byte where it belongs, whatever the alignment."""

import errno
import os
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import pytest

from backstay.filesystem.past_cache import FileDoor

SIZE = 20 << 20


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[int]:
    """An empty open file."""
    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT, 0o600)
    yield fd
    os.close(fd)


def cuts(seed: int) -> list[int]:
    """Where the pieces of a file begin, and its end: small ones, large ones, one above the stage."""
    source = random.Random(seed)
    places = {0, SIZE, 1, 4096, 9 << 20} | {source.randrange(SIZE) for _ in range(25)}
    return sorted(place for place in places if not 4096 < place < 9 << 20 or seed)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_pieces_in_any_order_make_the_file(opened: int, seed: int) -> None:
    """Pieces that are written by several threads in any order, and read back, are the content."""
    content = random.Random(seed).randbytes(SIZE)
    places = cuts(seed)
    pieces = [(at, content[at:end]) for at, end in pairwise(places)]
    shuffled = pieces[:]
    random.Random(seed).shuffle(shuffled)
    door = FileDoor(opened, writing=True)
    with ThreadPoolExecutor(3) as threads:
        list(threads.map(lambda piece: door.write(*piece), shuffled))
    door.close()
    assert os.pread(opened, SIZE + 1, 0) == content
    door = FileDoor(opened, writing=False)
    assert all(bytes(door.read(at, len(piece))) == piece for at, piece in pieces)
    door.close()


def test_a_hole_between_pieces_stays_one(opened: int) -> None:
    """Nothing but the pieces is written: what lies between them reads as zeros, and takes no room."""
    door = FileDoor(opened, writing=True)
    piece = random.Random(3).randbytes(1 << 20)
    door.write(100, piece)
    door.write((8 << 20) + 5, piece)
    door.close()
    assert os.pread(opened, len(piece), (8 << 20) + 5) == piece
    assert not os.pread(opened, 6 << 20, 100 + len(piece)).strip(b"\0")
    assert os.fstat(opened).st_blocks * 512 < 4 << 20


def test_a_shorter_file_gives_what_there_is(opened: int) -> None:
    """Reading across the end gives fewer bytes, as a check of a restored file has to notice."""
    os.pwrite(opened, b"x" * 300_000, 0)
    door = FileDoor(opened, writing=False)
    assert len(door.read(1000, 1 << 20)) == 299_000
    door.close()


def test_what_the_system_refuses_is_told(opened: int, tmp_path: Path) -> None:
    """A file that may not grow fails with the system's reason."""
    reading = os.open(tmp_path / "file", os.O_RDONLY)
    door = FileDoor(reading, writing=False)
    with pytest.raises(OSError) as caught:
        door.write(0, b"x" * (1 << 20))
    assert caught.value.errno == errno.EBADF
    door.close()
    os.close(reading)
