"""What Windows knows of a file goes into an entry and comes out of it, over a stand-in of an open file."""

import errno
from dataclasses import replace

import pytest

from backstay.domain.entry import Entry
from backstay.filesystem.windows_facts import (
    ATTRIBUTES,
    COMPRESSED,
    CREATED,
    ENCRYPTED,
    HIDDEN,
    MOST_BYTES,
    READONLY,
    REPARSE,
    SECURITY,
    SPARSE,
    attributes_of,
    capture,
    restorable,
    restore,
    restore_before_data,
)
from backstay.system.nt_stat import to_filetime
from backstay.testing.nt_file_stand_in import StandInFile

BORN = 131_000_000_000_000_000
MTIME_NS = 1_600_000_000_123_456_700
DESCRIPTOR = bytes.fromhex("01000484") + bytes(40)
"""Self-relative, with an access list whose entries are marked as inherited."""
LINUX = ((b"system.posix_acl_access", b"x"), (b"user.note", b"from linux"))


def entry_of(file: StandInFile, *, is_link: bool = False, mode: int = 0o100644) -> Entry:
    """The entry that a backup makes of the file."""
    extras = capture(file, is_link=is_link)
    assert extras.problem == ""
    return Entry(b"file", mode, 0, 0, 0, MTIME_NS, 0, 1, 1, xattrs=extras.xattrs, flags=extras.flags)


def full() -> StandInFile:
    """A file with all that Windows can say of it."""
    return StandInFile(
        attributes=0x20 | HIDDEN | READONLY | SPARSE | COMPRESSED,
        created=BORN,
        descriptor=DESCRIPTOR,
        alternate={
            "Zone.Identifier": b"[ZoneTransfer]\r\nZoneId=3\r\n",
            "empty": b"",
            "Größe ☂": b"x" * 1000,
        },
        short="FILE~1.TXT",
        ea=b"\0\0\0\0\0\3\1\0$LX\0x",
    )


def test_everything_comes_back() -> None:
    """A new file gets all that the old one had: the time of its making, access, streams."""
    old, new = full(), StandInFile()
    entry = entry_of(old)
    restore_before_data(new, entry)
    assert restore(new, entry, permissions=True) == []
    assert replace(new, calls=[], modified=0) == replace(old, calls=[], modified=0)
    assert new.modified == to_filetime(MTIME_NS)


def test_times_and_attributes_come_last() -> None:
    """Writing streams moves times, and a read-only file takes none."""
    new = StandInFile()
    restore(new, entry_of(full()), permissions=True)
    assert new.calls[-1] == "set_basic"
    assert new.attributes & READONLY


def test_without_permissions_access_is_that_of_new_files() -> None:
    """The rest comes back all the same."""
    new = StandInFile(descriptor=b"inherited from the folder")
    assert restore(new, entry_of(full()), permissions=False) == []
    assert new.descriptor == b"inherited from the folder"
    assert new.created == BORN


def test_inherited_stays_inherited() -> None:
    """Only what asks for it keeps the marks of inherited entries."""
    assert restorable(DESCRIPTOR)[2:4] == bytes.fromhex("0485")
    assert restorable(b"short") == b"short"
    protected = bytes.fromhex("01000494") + bytes(40)
    assert restorable(protected)[2:4] == bytes.fromhex("0495")


def test_streams_of_what_is_replaced_go() -> None:
    """A folder that is restored over has the streams of the restore point, and no others."""
    new = StandInFile(alternate={"old": b"1", "empty": b"not empty"})
    restore(new, entry_of(full()), permissions=True)
    assert new.alternate == full().alternate


def test_streams_too_large_are_named() -> None:
    """What cannot be kept makes a problem, and costs the others nothing."""
    file = StandInFile(alternate={"small": b"1", "large": b"x" * MOST_BYTES, "other": b"2"})
    extras = capture(file)
    assert "'large' (1,048,576 bytes) is too large" in extras.problem
    assert {name for name, _ in extras.xattrs} >= {b"user.small", b"user.other"}
    assert b"user.large" not in dict(extras.xattrs)


@pytest.mark.parametrize("name", ["security", "streams", "read_stream", "short_name", "extended"])
def test_what_cannot_be_read_is_named(name: str) -> None:
    """One refusal makes one problem; all else is captured."""
    extras = capture(replace(full(), refuses={name: errno.EACCES}))
    assert "permission denied" in extras.problem
    assert dict(extras.xattrs)[CREATED] == BORN.to_bytes(8, "little")


@pytest.mark.parametrize("name", ["security", "streams", "short_name", "extended"])
def test_what_a_file_system_does_not_have_is_no_problem(name: str) -> None:
    """FAT has neither access lists nor streams."""
    assert capture(replace(full(), refuses={name: errno.EOPNOTSUPP})).problem == ""


def test_a_file_whose_attributes_cannot_be_read_is_named() -> None:
    """Then nothing else is believed."""
    assert "attributes could not be read" in capture(StandInFile(refuses={"basic": errno.EIO})).problem


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("set_security", "security descriptor could not be set"),
        ("write_stream", "stream 'empty' could not be written"),
        ("set_short_name", "short name could not be set"),
        ("set_basic", "times and attributes could not be set"),
    ],
)
def test_what_cannot_be_set_is_named_and_stops_nothing(name: str, words: str) -> None:
    """Every refusal is a clause; everything else is restored."""
    new = StandInFile(refuses={name: errno.EACCES})
    problems = restore(new, entry_of(full()), permissions=True)
    assert any(words in problem for problem in problems)
    assert new.ea == full().ea


def test_a_taken_short_name_is_no_problem() -> None:
    """It is a convenience of the volume, which gives the file another."""
    new = StandInFile(refuses={"set_short_name": errno.EEXIST})
    assert restore(new, entry_of(full()), permissions=True) == []


def test_reparse_points_are_kept_byte_by_byte() -> None:
    """Of a link its data is captured, of a file that a filter driver resolves it is not."""
    point = StandInFile(attributes=0x410, point=b"\x03\0\0\xa0data")
    assert dict(entry_of(point, is_link=True, mode=0o120777).xattrs)[REPARSE] == point.point
    assert REPARSE not in dict(entry_of(point).xattrs)


def test_encrypted_files_are_told() -> None:
    """They come back readable, which an administrator must know."""
    file = StandInFile(attributes=0x20 | ENCRYPTED)
    assert restore(StandInFile(), entry_of(file), permissions=True) == [
        "it was encrypted (EFS), and is restored without encryption"
    ]


def test_files_from_linux_become_ordinary_ones() -> None:
    """Attributes `user.` become streams; a mode without write bits makes a file read-only; flags are told."""
    entry = Entry(b"file", 0o100444, 7, 7, 0, MTIME_NS, 0, 1, 1, xattrs=LINUX, flags=0x10)
    new = StandInFile()
    assert restore(new, entry, permissions=True) == ["flags could not be set (immutable)"]
    assert new.alternate == {"note": b"from linux"}
    assert new.attributes & READONLY
    assert new.created == StandInFile().created
    assert attributes_of(entry) is None


@pytest.mark.parametrize("name", [b"user.", b"user.a:b", b"user.a/b", b"user.a\\b"])
def test_no_attribute_reaches_another_stream(name: bytes) -> None:
    """A forged name of a stream is refused and told."""
    new = StandInFile()
    entry = Entry(b"file", 0o100644, 0, 0, 0, 0, 0, 1, 1, xattrs=((name, b"x"),))
    assert any(
        "cannot be the name of a stream" in problem for problem in restore(new, entry, permissions=True)
    )
    assert new.alternate == {}


def test_forged_values_are_harmless() -> None:
    """Attributes and times of a wrong length count as none."""
    xattrs = ((ATTRIBUTES, b"\1"), (CREATED, b"\1" * 9), (SECURITY, b"\1"))
    entry = Entry(b"file", 0o100644, 0, 0, 0, 0, 0, 1, 1, xattrs=xattrs)
    new = StandInFile()
    restore(new, entry, permissions=False)
    assert new.created == StandInFile().created
