"""A Windows file in the fields of a Linux stat."""

import errno
import stat

import pytest

from backstay.system.nt_stat import (
    AF_UNIX,
    MOUNT_POINT,
    SYMLINK,
    mode_of,
    status_of,
    to_filetime,
    to_ns,
)
from backstay.system.nt_status import status_error

DEDUPLICATED = 0x80000013
CLOUD = 0x9000001A


@pytest.mark.parametrize(
    ("attributes", "tag", "kind"),
    [
        (0x20, 0, stat.S_IFREG),
        (0x10, 0, stat.S_IFDIR),
        (0x420, SYMLINK, stat.S_IFLNK),
        (0x410, SYMLINK, stat.S_IFLNK),
        (0x410, MOUNT_POINT, stat.S_IFLNK),
        (0x420, DEDUPLICATED, stat.S_IFREG),
        (0x410, CLOUD, stat.S_IFDIR),
        (0x420, AF_UNIX, stat.S_IFSOCK),
    ],
)
def test_kinds(attributes: int, tag: int, kind: int) -> None:
    """Links are links; what a filter driver resolves is the file that it makes of it."""
    assert stat.S_IFMT(mode_of(attributes, tag)) == kind


def test_times_go_both_ways() -> None:
    """1970 and a day of 2026, to a tenth of a microsecond; what was before 1601 is the first moment there."""
    assert to_ns(116_444_736_000_000_000) == 0
    assert to_ns(to_filetime(1_795_602_746_415_885_300)) == 1_795_602_746_415_885_300
    assert to_filetime(-12_000_000_000 * 10**9) == 1


def test_sizes_are_those_of_content() -> None:
    """A folder has none; a file with a hole takes fewer blocks than its size."""
    times = (to_filetime(1), to_filetime(2), to_filetime(3), to_filetime(400))
    file = status_of(times, (4096, 1 << 20), 0x220, 0, 1, 7, 9)
    assert (file.st_size, file.st_blocks, file.st_ctime_ns) == (1 << 20, 8, 400)
    assert status_of(times, (4096, 4096), 0x10, 0, 1, 7, 9).st_size == 0
    assert status_of((1, 1, 1, 0), (0, 0), 0x20, 0, 1, 7, 9).st_ctime_ns == 0


@pytest.mark.parametrize(
    ("status", "number"),
    [(-0x3FFFFFCC, errno.ENOENT), (0xC0000043, errno.EBUSY), (0xC0000022, errno.EACCES)],
)
def test_refusals_have_the_numbers_of_linux(status: int, number: int) -> None:
    """Signed or unsigned, a status becomes the error that the engine knows."""
    assert status_error(status, "file").errno == number


def test_an_unknown_status_is_shown() -> None:
    """What has no number of its own keeps its own."""
    assert "0xC0001234" in str(status_error(0xC0001234))
