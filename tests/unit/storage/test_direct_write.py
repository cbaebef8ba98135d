"""Large objects are written past the page cache, and are whole whatever the file system thinks of that."""

import errno
import fcntl
import os
import random
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from backstay.storage.direct_write import write_direct

SIZES = (1, 4095, 4096, 4097, 1 << 20, (8 << 20) - 1, 8 << 20, (8 << 20) + 1, (19 << 20) + 12345)


def written(path: Path, size: int, pieces: int) -> bytes:
    """Write `size` bytes given as views of uneven lengths, and return what should be there."""
    chance = random.Random(size)
    data = chance.randbytes(size)
    cuts = sorted({0, size, *(chance.randrange(size) for _ in range(pieces))})
    views = [memoryview(data)[start:end] for start, end in pairwise(cuts)]
    fd = os.open(path, os.O_WRONLY | os.O_CREAT)
    try:
        write_direct(fd, views)
    finally:
        os.close(fd)
    return data


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("folder", ["disk", "memory"])
def test_every_length_is_whole(tmp_path: Path, size: int, folder: str) -> None:
    """On a disk and in /dev/shm, which may know no direct writes, each byte is in its place."""
    path = (tmp_path if folder == "disk" else Path("/dev/shm")) / f"backstay-direct-{os.getpid()}-{size}"
    try:
        assert written(path, size, 7) == path.read_bytes()
    finally:
        path.unlink()


@pytest.mark.parametrize("fails_at", [1, 2])
def test_another_alignment_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails_at: int
) -> None:
    """Where the file system refuses a direct write as misaligned, plain writes finish the file."""
    calls = 0
    plain: Callable[..., int] = os.write

    def refusing(fd: int, data: memoryview) -> int:
        nonlocal calls
        calls += bool(fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_DIRECT)
        if calls == fails_at and fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_DIRECT:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return plain(fd, data)

    monkeypatch.setattr(os, "write", refusing)
    assert written(tmp_path / "f", (19 << 20) + 77, 5) == (tmp_path / "f").read_bytes()
    assert calls == fails_at
