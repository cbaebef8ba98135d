"""Capturing metadata, and the names of owners."""

import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from backstay.filesystem.extras import Extras, stat_of
from backstay.filesystem.inode_flags import USER_FLAGS
from backstay.filesystem.metadata_posix import ExtrasReader, get_flags
from backstay.filesystem.owners import Owners

NOBODYS_ID = 3_999_999_999


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[int]:
    """An empty file, open."""
    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    yield fd
    os.close(fd)


def test_stat_of_is_the_lstat(opened: int) -> None:
    """Every field of the scan's view is that of the lstat, in nanoseconds and bytes."""
    os.utime(opened, ns=(1, 1_234_567_890_123_456_789))
    st = os.fstat(opened)
    seen = stat_of(b"na\xefve", st)
    assert seen.name == b"na\xefve"
    assert seen.mtime_ns == 1_234_567_890_123_456_789
    assert seen[1:] == (
        st.st_mode,
        st.st_size,
        st.st_mtime_ns,
        st.st_ctime_ns,
        st.st_ino,
        st.st_uid,
        st.st_gid,
        st.st_nlink,
    )


def test_a_plain_file_has_no_extras(opened: int) -> None:
    """Nothing is captured where there is nothing: flags that only the file system sets are left out."""
    assert ExtrasReader().of_open(opened, os.fstat(opened)) == Extras()


def test_attributes_are_sorted_and_binary(opened: int) -> None:
    """Attributes come in the order of their names, however they were set; names and values are bytes."""
    for name in (b"user.z", b"user.caf\xe9", b"user.a"):
        os.setxattr(opened, name, name + b"\0\xff")
    extras = ExtrasReader().of_open(opened, os.fstat(opened))
    assert extras.xattrs == tuple(
        (name, name + b"\0\xff") for name in (b"user.a", b"user.caf\xe9", b"user.z")
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to set flags and make devices")
def test_flags_and_device_numbers(opened: int, tmp_path: Path) -> None:
    """Flags that a user set are captured, others masked; a device has its number."""
    subprocess.run(["chattr", "+dA", tmp_path / "file"], check=True)
    assert ExtrasReader().of_open(opened, os.fstat(opened)).flags == get_flags(opened) & USER_FLAGS == 0xC0
    os.mknod(tmp_path / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    here = os.open(tmp_path, os.O_RDONLY)
    extras = ExtrasReader().of_named(here, b"null", (tmp_path / "null").stat())
    os.close(here)
    assert extras == Extras(rdev=os.makedev(1, 3))


def test_a_file_system_without_attributes_is_no_problem() -> None:
    """Where the file system has neither attributes nor flags, none are captured and nothing is told."""
    fd = os.open("/proc/self/status", os.O_RDONLY)
    reader = ExtrasReader()
    for _ in range(2):
        assert reader.of_open(fd, os.fstat(fd)) == Extras()
    os.close(fd)


def test_what_vanished_is_told_and_raises_nothing(tmp_path: Path) -> None:
    """A link that vanished after it was listed gives a clause for the job."""
    (tmp_path / "link").symlink_to("target")
    st = (tmp_path / "link").lstat()
    (tmp_path / "link").unlink()
    here = os.open(tmp_path, os.O_RDONLY)
    extras = ExtrasReader().of_named(here, b"link", st)
    os.close(here)
    assert extras.xattrs == ()
    assert extras.problem == "extended attributes could not be read: vanished while the backup ran"


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    """The attributes of a link's target are not taken for the link's."""
    (tmp_path / "target").write_bytes(b"")
    os.setxattr(tmp_path / "target", b"user.of.target", b"1")
    (tmp_path / "link").symlink_to("target")
    here = os.open(tmp_path, os.O_RDONLY)
    assert ExtrasReader().of_named(here, b"link", (tmp_path / "link").lstat()) == Extras()
    os.close(here)


def test_names_of_owners() -> None:
    """Known numbers have names, unknown ones none."""
    owners = Owners()
    assert owners.names(0, 0) == (b"root", b"root")
    assert owners.names(NOBODYS_ID, NOBODYS_ID) == (b"", b"")
    assert owners.names(0, NOBODYS_ID) == (b"root", b"")


def test_restored_owners_follow_the_names() -> None:
    """A name that is known here wins over the number, an unknown one leaves it, and so does `numeric_ids`."""
    assert Owners().ids(1234, 1235, b"root", b"no such group") == (0, 1235)
    assert Owners().ids(1234, 1235, b"no such user", b"root") == (1234, 0)
    assert Owners().ids(1234, 1235, b"", b"") == (1234, 1235)
    assert Owners().ids(1234, 1235, b"\xff\xfe", b"a\0b") == (1234, 1235)
    assert Owners(numeric_ids=True).ids(1234, 1235, b"root", b"root") == (1234, 1235)
