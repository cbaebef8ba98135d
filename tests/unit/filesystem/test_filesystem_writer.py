"""Writing restored entries where something is in the way, forbidden or full."""

import os
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from backstay.domain.entry import Entry
from backstay.domain.errors import TargetError
from backstay.filesystem.owners import Owners
from backstay.filesystem.writer import ASIDE_PREFIX, TreeWriter, discard, lift_protection, reopen, write_at

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[int]:
    """The target directory, open."""
    fd = os.open(tmp_path, os.O_RDONLY)
    yield fd
    os.close(fd)
    if os.geteuid() == 0:
        subprocess.run(["chattr", "-R", "-f", "-i", "-a", tmp_path], check=False, capture_output=True)


@pytest.fixture
def writer() -> TreeWriter:
    """A writer that restores permissions."""
    return TreeWriter(Owners())


@contextmanager
def unprivileged() -> Iterator[None]:
    """As nobody."""
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def entry(kind: int = stat.S_IFREG, mode: int = 0o640, **fields: object) -> Entry:
    """An entry of this user."""
    plain = Entry(b"", kind | mode, os.geteuid(), os.getegid(), 0, 10**18 + 7, 0, 0, 1)
    return plain._replace(**fields)  # type: ignore[arg-type]


def asides(path: Path) -> list[str]:
    """What an interrupted restore would leave."""
    return [each.name for each in path.iterdir() if os.fsencode(each.name).startswith(ASIDE_PREFIX)]


def test_a_name_that_is_taken_is_left_alone(folder: int, tmp_path: Path, writer: TreeWriter) -> None:
    """Without `replace`, what has the name already stays as it is, be it a file or a link to somewhere."""
    (tmp_path / "file").write_bytes(b"old")
    (tmp_path / "link").symlink_to("elsewhere")
    for name in (b"file", b"link"):
        with pytest.raises(FileExistsError):
            writer.write_small(folder, name, entry(size=3), b"new", replace=False)
        with pytest.raises(FileExistsError):
            writer.make_other(folder, name, entry(stat.S_IFLNK, inline=b"x"), replace=False)
    assert (tmp_path / "file").read_bytes() == b"old"
    assert not (tmp_path / "elsewhere").exists()


def test_until_it_is_published_the_old_file_stays(folder: int, tmp_path: Path, writer: TreeWriter) -> None:
    """Whoever looks sees the whole old file or the whole new one, with its metadata."""
    (tmp_path / "file").write_bytes(b"old")
    new = entry(size=8, mode=0o604)
    fd, aside = writer.create_aside(folder, new)
    write_at(fd, 4, b"new!")
    os.close(fd)
    fd = reopen(folder, aside)
    assert writer.finish_file(fd, new) == []
    assert (tmp_path / "file").read_bytes() == b"old"
    writer.publish(folder, aside, b"file")
    assert writer.seal(fd, new) == []
    os.close(fd)
    assert (tmp_path / "file").read_bytes() == b"\0\0\0\0new!"
    assert (tmp_path / "file").stat().st_mtime_ns == 10**18 + 7
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o604
    assert asides(tmp_path) == []


def test_a_link_in_the_way_is_replaced_and_not_followed(
    folder: int, tmp_path: Path, writer: TreeWriter
) -> None:
    """Replacing a symbolic link leaves its target untouched."""
    (tmp_path / "precious").write_bytes(b"precious")
    (tmp_path / "file").symlink_to("precious")
    assert writer.write_small(folder, b"file", entry(size=3), b"new", replace=True) == []
    assert (tmp_path / "precious").read_bytes() == b"precious"
    assert not (tmp_path / "file").is_symlink()


def test_a_folder_in_the_way_is_never_removed(folder: int, tmp_path: Path, writer: TreeWriter) -> None:
    """A folder where a file belongs is the caller's to decide; nothing is left aside."""
    (tmp_path / "name").mkdir()
    with pytest.raises(IsADirectoryError):
        writer.write_small(folder, b"name", entry(size=3), b"new", replace=True)
    with pytest.raises(IsADirectoryError):
        writer.make_other(folder, b"name", entry(stat.S_IFIFO), replace=True)
    assert asides(tmp_path) == []


def test_a_file_in_the_way_of_a_folder(folder: int, tmp_path: Path, writer: TreeWriter) -> None:
    """A file or a link to a folder is not taken for the folder."""
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "link").symlink_to(".")
    for name in (b"file", b"link"):
        with pytest.raises(NotADirectoryError):
            writer.make_directory(folder, name, entry(stat.S_IFDIR))


def test_a_new_folder_is_told_from_an_old_one(folder: int, tmp_path: Path, writer: TreeWriter) -> None:
    """Only a folder that was not there is new, and it is closed to others until it is finished."""
    assert writer.make_directory(folder, b"folder", entry(stat.S_IFDIR, 0o755))
    assert stat.S_IMODE((tmp_path / "folder").stat().st_mode) == 0o700
    assert not writer.make_directory(folder, b"folder", entry(stat.S_IFDIR, 0o755))


@needs_root
def test_protected_files_give_way(folder: int, tmp_path: Path, writer: TreeWriter) -> None:
    """Immutable and append only files are replaced and removed, protected folders are filled, as root."""
    for name in ("replaced", "removed"):
        (tmp_path / name).write_bytes(b"old")
        subprocess.run(["chattr", "+ia", tmp_path / name], check=True)
    (tmp_path / "folder").mkdir()
    subprocess.run(["chattr", "+i", tmp_path / "folder"], check=True)
    assert writer.write_small(folder, b"replaced", entry(size=3), b"new", replace=True) == []
    discard(folder, b"removed")
    discard(folder, b"never there")
    writer.make_directory(folder, b"folder", entry(stat.S_IFDIR))
    (tmp_path / "folder" / "child").write_bytes(b"")
    assert (tmp_path / "replaced").read_bytes() == b"new"
    assert not (tmp_path / "removed").exists()
    assert lift_protection(folder, b"replaced") == 0


@needs_root
def test_what_only_root_may_do_is_told(folder: int, tmp_path: Path, writer: TreeWriter) -> None:
    """Without privileges the content is restored, and each thing that could not be set has its clause."""
    tmp_path.chmod(0o777)
    special = entry(uid=0, gid=0, mode=0o6755, size=3, flags=0x10,
                    xattrs=((b"trusted.x", b"1"), (b"user.mine", b"2")))  # fmt: skip
    with unprivileged():
        problems = writer.write_small(folder, b"file", special, b"new", replace=True)
        device = entry(stat.S_IFCHR, rdev=os.makedev(1, 3))
        assert writer.make_other(folder, b"device", device, replace=True) == [
            "the device could not be made: operation not permitted"
        ]
    assert os.getxattr(tmp_path / "file", b"user.mine") == b"2"
    assert problems == [
        "owner 0:0 could not be set: operation not permitted",
        "extended attribute trusted.x could not be set: operation not permitted",
        "flags could not be set (immutable): operation not permitted",
    ]
    assert (tmp_path / "file").read_bytes() == b"new"
    assert asides(tmp_path) == []


@needs_root
def test_setuid_is_not_given_to_another_owner(folder: int, tmp_path: Path, writer: TreeWriter) -> None:
    """A file whose owner or group could not be restored comes back without setuid or setgid."""
    tmp_path.chmod(0o777)
    with unprivileged():
        writer.write_small(folder, b"neither", entry(uid=0, gid=1234, mode=0o6755), b"", replace=False)
        writer.write_small(folder, b"group", entry(uid=0, gid=os.getegid(), mode=0o6755), b"", replace=False)
    assert stat.S_IMODE((tmp_path / "neither").stat().st_mode) == 0o755
    assert stat.S_IMODE((tmp_path / "group").stat().st_mode) == 0o2755


@needs_root
def test_user_attributes_of_a_read_only_file(folder: int, tmp_path: Path, writer: TreeWriter) -> None:
    """Who owns a file without write permission gets its attributes back all the same."""
    tmp_path.chmod(0o777)
    mine = entry(uid=65534, gid=os.getegid(), mode=0o400, xattrs=((b"user.mine", b"2"),))
    with unprivileged():
        assert writer.write_small(folder, b"file", mine, b"", replace=False) == []
    assert os.getxattr(tmp_path / "file", b"user.mine") == b"2"


@needs_root
def test_without_permissions_only_content_and_times_are_restored(folder: int, tmp_path: Path) -> None:
    """Owner, mode, trusted attributes and flags are those of a new file; executables stay executable."""
    umask = os.umask(0o027)
    try:
        writer = TreeWriter(Owners(), permissions=False)
    finally:
        os.umask(umask)
    xattrs = ((b"trusted.x", b"1"), (b"user.mine", b"2"))
    closed = entry(uid=1234, gid=1234, mode=0o4600, flags=0x10, xattrs=xattrs)
    for name, each in ((b"closed", closed), (b"tool", closed._replace(mode=0o100700))):
        assert writer.write_small(folder, name, each, b"", replace=False) == []
    st = (tmp_path / "closed").stat()
    assert (st.st_uid, stat.S_IMODE(st.st_mode), st.st_mtime_ns) == (0, 0o640, closed.mtime_ns)
    assert os.listxattr(tmp_path / "closed") == ["user.mine"]
    assert stat.S_IMODE((tmp_path / "tool").stat().st_mode) == 0o750


def test_names_choose_the_owner(folder: int, tmp_path: Path) -> None:
    """The owner's name on this machine decides, as for a restore to another file server."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    by_name = entry(uid=1234, gid=1234, user=b"root", group=b"root")
    TreeWriter(Owners()).write_small(folder, b"name", by_name, b"", replace=False)
    TreeWriter(Owners(numeric_ids=True)).write_small(folder, b"number", by_name, b"", replace=False)
    assert (tmp_path / "name").stat().st_uid == 0
    assert (tmp_path / "number").stat().st_uid == 1234


@needs_root
def test_a_full_disk_stops_the_restore(tmp_path: Path, writer: TreeWriter) -> None:
    """No room is one clear error with a hint, and leaves no half file behind."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", tmp_path], check=True)
    try:
        fd = os.open(tmp_path, os.O_RDONLY)
        (tmp_path / "file").write_bytes(b"old")
        with pytest.raises(TargetError, match="no space left") as caught:
            writer.write_small(fd, b"file", entry(size=1 << 20), bytes(1 << 20), replace=True)
        assert caught.value.hint
        os.close(fd)
        assert (tmp_path / "file").read_bytes() == b"old"
        assert asides(tmp_path) == []
    finally:
        subprocess.run(["umount", "--lazy", tmp_path], check=True)


@needs_root
def test_a_read_only_target_stops_the_restore(tmp_path: Path, writer: TreeWriter) -> None:
    """A read-only file system is told at the first entry of any kind."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "none", tmp_path], check=True)
    try:
        fd = os.open(tmp_path, os.O_RDONLY)
        for attempt in (
            lambda: writer.write_small(fd, b"file", entry(), b"", replace=True),
            lambda: writer.make_directory(fd, b"folder", entry(stat.S_IFDIR)),
            lambda: writer.make_other(fd, b"fifo", entry(stat.S_IFIFO), replace=False),
        ):
            with pytest.raises(TargetError, match="read-only"):
                attempt()
        os.close(fd)
    finally:
        subprocess.run(["umount", "--lazy", tmp_path], check=True)


def test_a_link_that_is_already_there_stays(folder: int, tmp_path: Path, writer: TreeWriter) -> None:
    """Linking a name to the file that it already names changes nothing and leaves nothing aside."""
    writer.write_small(folder, b"first", entry(size=3), b"new", replace=False)
    for _ in range(2):
        writer.make_link(folder, b"second", folder, b"first", replace=True)
    assert (tmp_path / "second").samefile(tmp_path / "first")
    assert (tmp_path / "first").stat().st_nlink == 2
    assert asides(tmp_path) == []
