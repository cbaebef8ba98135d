"""Writing many buffers to a file and comparing them with one, without ever joining them."""

import errno
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from backstay.storage.interface import Buffer

_IOV_MAX = 1024  # limits.h on Linux; writev(2) refuses more buffers at once
_COMPARE_STEP = 1 << 20


def views_of(data: Iterable[Buffer]) -> Sequence[memoryview]:
    """Each non-empty buffer as a view of plain bytes."""
    return [view for buffer in data if (view := memoryview(buffer).cast("B")).nbytes]


def write_all(fd: int, views: Sequence[memoryview]) -> None:
    """Write all of `views` in order; a short write goes on where it ended. Raises OSError."""
    # Nothing written of nothing is no sign that the file is full.
    left = [view for view in views if view.nbytes]
    first = 0
    while first < len(left):
        written = _write_some(fd, left[first : first + _IOV_MAX])
        if not written:
            raise OSError(errno.EIO, "the file takes no more bytes")
        while first < len(left) and written >= left[first].nbytes:
            written -= left[first].nbytes
            first += 1
        if written:
            left[first] = left[first][written:]


def _write_some(fd: int, views: Sequence[memoryview]) -> int:
    if hasattr(os, "writev"):
        return os.writev(fd, views)
    return os.write(fd, views[0])


def holds_exactly(path: Path, views: Sequence[memoryview]) -> bool:
    """Whether the file at `path` consists of exactly these bytes. Raises OSError."""
    with path.open("rb", buffering=0) as file:
        if os.fstat(file.fileno()).st_size != sum(view.nbytes for view in views):
            return False
        stored = memoryview(bytearray(_COMPARE_STEP))
        for view in views:
            at = 0
            while at < view.nbytes:
                count = file.readinto(stored[: min(_COMPARE_STEP, view.nbytes - at)])
                if not count or stored[:count] != view[at : at + count]:
                    return False
                at += count
        return True
