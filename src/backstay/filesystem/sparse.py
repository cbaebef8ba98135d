"""Where a sparse file has data and where it has holes (lseek(2), SEEK_DATA and SEEK_HOLE)."""

import errno
from collections.abc import Iterator
from typing import NamedTuple

from backstay.system.calls import os


class Extent(NamedTuple):
    """A run of a file: `offset` and `length` in bytes; a hole reads as zeros and takes no room."""

    offset: int
    length: int
    is_hole: bool


def data_extents(fd: int, size: int) -> Iterator[Extent]:
    """The extents of the open file's first `size` bytes, in order and without gaps.

    Worth asking only where `st_blocks * 512 < st_size`. A file system that cannot tell gives one
    data extent. Where the file has become shorter meanwhile, the extents end where it ends now.

    Raises:
        OSError: the file cannot be examined.
    """
    offset = 0
    while offset < size:
        try:
            start = os.lseek(fd, offset, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                end = min(size, os.fstat(fd).st_size)
                if end > offset:
                    yield Extent(offset, end - offset, True)
                return
            if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
                raise
            yield Extent(offset, size - offset, False)
            return
        if start > offset:
            yield Extent(offset, min(start, size) - offset, True)
            if start >= size:
                return
        try:
            end = min(os.lseek(fd, start, os.SEEK_HOLE), size)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            return
        if end > start:
            yield Extent(start, end - start, False)
        offset = end
