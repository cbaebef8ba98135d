"""What lies in reparse points, by the bytes that MS-FSCC shows."""

import struct

import pytest

from backstay.system.nt_stat import LX_SYMLINK, MOUNT_POINT, SYMLINK
from backstay.system.reparse import mounted_volume, symlink_data, tag_of, target_of


def mount_point(target: str, shown: str = "") -> bytes:
    """As FSCTL_GET_REPARSE_POINT gives a junction or a mounted volume: MS-FSCC 2.1.2.5."""
    raw, seen = target.encode("utf-16-le"), shown.encode("utf-16-le")
    names = struct.pack("<4H", 0, len(raw), len(raw) + 2, len(seen)) + raw + b"\0\0" + seen + b"\0\0"
    return struct.pack("<IHH", MOUNT_POINT, len(names), 0) + names


def symlink(target: str, flags: int) -> bytes:
    """As FSCTL_GET_REPARSE_POINT gives a symbolic link, with the names the other way round: 2.1.2.4."""
    raw, seen = target.encode("utf-16-le"), b"s\0"
    names = struct.pack("<4HI", len(seen), len(raw), 0, len(seen), flags) + seen + raw
    return struct.pack("<IHH", SYMLINK, len(names), 0) + names


def test_a_volume_is_told_from_a_junction() -> None:
    """Only a whole volume is a mount point; a folder of one is a link."""
    volume = "Volume{9f0e3f2a-0000-0000-0000-100000000000}"
    assert mounted_volume(mount_point(f"\\??\\{volume}\\")) == volume
    assert mounted_volume(mount_point(f"\\??\\{volume}\\folder")) == ""
    assert mounted_volume(mount_point("\\??\\C:\\x", "C:\\x")) == ""
    assert mounted_volume(symlink("x", 1)) == ""


@pytest.mark.parametrize(
    ("data", "target"),
    [
        (mount_point("\\??\\C:\\Users\\All", "C:\\Users\\All"), b"/C:/Users/All"),
        (symlink("..\\a\\b", 1), b"../a/b"),
        (symlink("\\??\\D:\\b", 0), b"/D:/b"),
        (symlink("\\??\\UNC\\server\\share\\b", 0), b"/UNC/server/share/b"),
        (struct.pack("<IHHI", LX_SYMLINK, 4 + 6, 0, 2) + b"../a/b", b"../a/b"),
        (struct.pack("<IHH", 0xA0000027, 0, 0), b"reparse point 0xA0000027"),
    ],
)
def test_links_lead_where_windows_says(data: bytes, target: bytes) -> None:
    """Each kind of link gives its target in the spelling of restore points."""
    assert target_of(data) == target


@pytest.mark.parametrize("target", [b"file", b"../a/b", b"/C:/a", b"/UNC/server/share/a"])
def test_a_link_that_is_made_leads_to_its_target(target: bytes) -> None:
    """The bytes of a new symbolic link are read as what they were made from."""
    data = symlink_data(target)
    assert tag_of(data) == SYMLINK
    assert struct.unpack_from("<H", data, 4)[0] == len(data) - 8
    assert target_of(data) == target
