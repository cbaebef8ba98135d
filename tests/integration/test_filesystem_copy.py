"""A tree that is captured by the reader and written by the writer is the same tree, as other tools see it."""

import os
import shutil
import socket
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from backstay.domain.entry import Entry
from backstay.filesystem.extras import Extras
from backstay.filesystem.metadata_posix import ExtrasReader
from backstay.filesystem.opening import DirectoryChain, open_directory
from backstay.filesystem.owners import Owners
from backstay.filesystem.reader import open_regular, read_into
from backstay.filesystem.sparse import data_extents
from backstay.filesystem.writer import TreeWriter, write_at


def read_whole(fd: int, size: int) -> bytes:
    """The first `size` bytes of an open file; fewer where it is shorter."""
    buffer = bytearray(size)
    return bytes(buffer[: read_into(fd, 0, memoryview(buffer))])


pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: owners, devices, capabilities")

MAKE_IMAGE = {
    "btrfs": ["mkfs.btrfs", "-q", "-f"],
    "xfs": ["mkfs.xfs", "-q", "-f"],
    "ext4": ["mkfs.ext4", "-q", "-F"],
}
LARGE_XATTR = {"btrfs": 3500, "xfs": 60000, "ext4": 3000}
LONG_TARGET = {"btrfs": 3500, "xfs": 1000, "ext4": 4000}


@pytest.fixture(scope="module", params=["ext4", "btrfs", "xfs"])
def volume(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Path]]:
    """A freshly made file system of the kind, mounted from an image."""
    kind = request.param
    base = tmp_path_factory.mktemp(kind)
    image, mounted = base / "image", base / "mounted"
    mounted.mkdir()
    with image.open("wb") as file:
        file.truncate(512 << 20)
    command = MAKE_IMAGE[kind]
    if not shutil.which(command[0]):
        pytest.skip(f"{command[0]} is not installed")
    subprocess.run([*command, image], check=True, capture_output=True)
    done = subprocess.run(
        ["mount", "-o", "loop", image, mounted], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"{kind} images cannot be mounted here: {done.stderr.strip()}")
    try:
        yield kind, mounted
    finally:
        subprocess.run(["umount", "--lazy", mounted], check=True)
        image.unlink()


@pytest.fixture
def trees(volume: tuple[str, Path], request: pytest.FixtureRequest) -> Iterator[tuple[str, Path, Path]]:
    """An empty source and an empty target on the volume."""
    kind, mounted = volume
    base = mounted / request.node.name
    source, target = base / "source", base / "target"
    source.mkdir(parents=True)
    target.mkdir()
    yield kind, source, target
    run("chattr", "-R", "-f", "-i", "-a", base, check=False)
    shutil.rmtree(base)


def run(*command: object, check: bool = True, **options: object) -> bytes:
    """The output of a command."""
    return subprocess.run(
        [os.fspath(c) if isinstance(c, Path) else c for c in command],
        check=check,
        capture_output=True,
        **options,
    ).stdout  # type: ignore[call-overload]


def make(path: Path | bytes, data: bytes = b"content", mode: int = 0o644) -> bytes:
    """A regular file."""
    name = os.fsencode(path)
    with open(name, "wb") as file:  # noqa: PTH123
        file.write(data)
    os.chmod(name, mode)
    return name


class Copier:
    """The smallest backup and restore: entry by entry, straight from source to target."""

    def __init__(self, source: Path, target: Path, *, replace: bool = False) -> None:
        self.extras, self.owners = ExtrasReader(), Owners(numeric_ids=True)
        self.writer, self.replace = TreeWriter(self.owners), replace
        self.links: dict[tuple[int, int], tuple[tuple[bytes, ...], bytes]] = {}
        self.problems: list[tuple[bytes, str]] = []
        self.buffer = memoryview(bytearray(1 << 16))
        root, to = os.open(source, os.O_RDONLY), os.open(target, os.O_RDONLY)
        try:
            with DirectoryChain(to) as self.linked:
                self.directory(root, to, ())
        finally:
            os.close(root)
            os.close(to)

    def directory(self, fd: int, to: int, components: tuple[bytes, ...]) -> None:
        """Copy what is in the directory, then its own metadata."""
        st = os.fstat(fd)
        with os.scandir(fd) as found:
            names = sorted(os.fsencode(entry.name) for entry in found)
        for name in names:
            self.one(fd, to, components, name)
        extras = self.extras.of_open(fd, st)
        self.told(b"/".join(components), [extras.problem] if extras.problem else [])
        self.told(b"/".join(components), self.writer.finish_directory(to, entry_of(b"", st, extras)))

    def one(self, fd: int, to: int, components: tuple[bytes, ...], name: bytes) -> None:
        """Copy one entry."""
        st = os.stat(name, dir_fd=fd, follow_symlinks=False)
        if not stat.S_ISDIR(st.st_mode) and st.st_nlink > 1:
            first = self.links.setdefault((st.st_dev, st.st_ino), (components, name))
            if first != (components, name):
                self.writer.make_link(to, name, self.linked.open(first[0]), first[1], replace=self.replace)
                return
        if stat.S_ISDIR(st.st_mode):
            child = open_directory(fd, name)
            self.writer.make_directory(to, name, entry_of(name, st, Extras()))
            below = open_directory(to, name)
            self.directory(child, below, (*components, name))
            os.close(child)
            os.close(below)
        elif stat.S_ISREG(st.st_mode):
            self.told(name, self.regular(fd, to, name))
        else:
            extras = self.extras.of_named(fd, name, st)
            target = os.readlink(name, dir_fd=fd) if stat.S_ISLNK(st.st_mode) else None
            entry = entry_of(name, st, extras)._replace(inline=target)
            self.told(name, self.writer.make_other(to, name, entry, replace=self.replace))

    def regular(self, fd: int, to: int, name: bytes) -> list[str]:
        """Copy a regular file, large ones piecemeal."""
        file = open_regular(fd, name)
        try:
            st = os.fstat(file)
            entry = entry_of(name, st, self.extras.of_open(file, st))
            if st.st_size <= 4096 and st.st_blocks:
                return self.writer.write_small(
                    to, name, entry, read_whole(file, st.st_size), replace=self.replace
                )
            if self.replace:
                out, made = self.writer.create_aside(to, entry)
            else:
                out, made = self.writer.create_file(to, name, entry), name
            for extent in data_extents(file, st.st_size):
                offset, end = extent.offset, extent.offset + extent.length
                while not extent.is_hole and offset < end:
                    got = read_into(file, offset, self.buffer[: end - offset])
                    write_at(out, offset, self.buffer[:got])
                    offset += got
            problems = self.writer.finish_file(out, entry)
            if self.replace:
                self.writer.publish(to, made, name)
            problems += self.writer.seal(out, entry)
            os.close(out)
            return problems
        finally:
            os.close(file)

    def told(self, name: bytes, problems: list[str]) -> None:
        """Note what went wrong."""
        self.problems += [(name, problem) for problem in problems]


def entry_of(name: bytes, st: os.stat_result, extras: Extras) -> Entry:
    """The entry of a file."""
    return Entry(
        name,
        st.st_mode,
        st.st_uid,
        st.st_gid,
        st.st_size,
        st.st_mtime_ns,
        st.st_ctime_ns,
        st.st_ino,
        st.st_nlink,
        xattrs=extras.xattrs,
        flags=extras.flags,
        rdev=extras.rdev,
    )


def walk(root: Path) -> Iterator[bytes]:
    """Every path below, relative."""
    for base, folders, files in os.walk(os.fsencode(root)):
        for name in [*folders, *files]:
            yield os.path.relpath(os.path.join(base, name), os.fsencode(root))


def assert_same(source: Path, target: Path) -> None:
    """Every judge that is not ours finds no difference."""
    for root in (source, target):
        for path in walk(root):
            full = os.path.join(os.fsencode(root), path)
            if stat.S_ISREG(os.lstat(full).st_mode):
                fd = os.open(full, os.O_RDONLY)
                os.fsync(fd)
                os.close(fd)
    seen = run(
        "rsync", "-aHAXnc", "--delete", "--itemize-changes", "--numeric-ids", f"{source}/", f"{target}/"
    )
    assert seen == b""
    for tool in (["lsattr", "-R", "-a"], ["getcap", "-r", "."], ["getfacl", "-R", "-p", "-n", "."]):
        before, after = run(*tool, cwd=source, check=False), run(*tool, cwd=target, check=False)
        assert sorted(before.split(b"\n")) == sorted(after.split(b"\n")), tool
    for path in walk(source):
        one = os.lstat(os.path.join(os.fsencode(source), path))
        two = os.lstat(os.path.join(os.fsencode(target), path))
        assert (path, one.st_mtime_ns, one.st_rdev, one.st_nlink) == (
            path,
            two.st_mtime_ns,
            two.st_rdev,
            two.st_nlink,
        )
        if stat.S_ISREG(one.st_mode):
            assert (path, one.st_blocks) == (path, two.st_blocks)


def copied(trees: tuple[str, Path, Path], *, replace: bool = False) -> None:
    """Copy source to target without a problem, and compare."""
    _, source, target = trees
    assert Copier(source, target, replace=replace).problems == []
    assert_same(source, target)


def test_names(trees: tuple[str, Path, Path]) -> None:
    """Names are bytes: not UTF-8, with a newline, of 255 bytes."""
    base = os.fsencode(trees[1])
    for name in (
        b"caf\xe9",
        b"new\nline",
        b"n" * 255,
        b"-rf",
        b" ",
        b"\x01\x7f\\",
        b"\xf0\x9f\x93\xa6",
        b"\xff" * 255,
    ):
        make(base + b"/" + name, name)
        os.makedirs(base + b"/folders/" + name)
        os.symlink(name, base + b"/folders/" + name + b"/link")
    copied(trees)


def test_modes_and_owners(trees: tuple[str, Path, Path]) -> None:
    """Setuid, setgid, sticky and owners survive, whichever owner the file has."""
    source = trees[1]
    for mode in (0o4755, 0o2755, 0o6711, 0o1644, 0o000, 0o777, 0o400, 0o200):
        for uid, gid in ((0, 0), (1234, 4321), (65534, 0)):
            path = make(source / f"{mode:o}-{uid}")
            os.chown(path, uid, gid)
            os.chmod(path, mode)
            folder = source / f"folder-{mode:o}-{uid}"
            folder.mkdir()
            make(folder / "child")
            os.chown(folder, uid, gid)
            folder.chmod(mode)
    copied(trees)


def test_access_control_lists_and_capabilities(trees: tuple[str, Path, Path]) -> None:
    """Access and default lists, and capabilities of a file of another owner, survive."""
    source = trees[1]
    run("setfacl", "-m", "u:1234:rwx,g:99:r,m::rx", make(source / "listed", mode=0o640))
    folder = source / "inheriting"
    folder.mkdir()
    run("setfacl", "-m", "u:77:rx", "-d", "-m", "u:1234:rwx,o::-", folder)
    make(folder / "inherits")
    run("setfacl", "-b", make(folder / "inherits not", mode=0o664))
    (folder / "nested").mkdir()
    tool = make(source / "ping", mode=0o755)
    os.chown(tool, 1234, 4321)
    run("setcap", "cap_net_raw,cap_net_admin+ep", tool)
    assert run("getcap", "-r", source)
    copied(trees)


def test_a_list_that_the_target_would_inherit_is_not_added(trees: tuple[str, Path, Path]) -> None:
    """Below a target folder with a default list, restored files get the lists of the source only."""
    _, source, target = trees
    make(source / "plain", mode=0o640)
    (source / "folder").mkdir()
    os.mkfifo(source / "fifo")
    run("setfacl", "-d", "-m", "u:1234:rwx", target)
    copied(trees)


def test_extended_attributes(trees: tuple[str, Path, Path]) -> None:
    """Binary, empty, large and trusted attributes of files, folders and symbolic links survive."""
    kind, source, _ = trees
    path = make(source / "attributes", mode=0o400)
    os.setxattr(path, b"user.binary", bytes(range(256)) * 2)
    os.setxattr(path, b"user.empty", b"")
    os.setxattr(path, b"user.caf\xe9", b"name that is not UTF-8")
    os.setxattr(path, b"trusted.secret", b"\0\xff")
    os.setxattr(make(source / "large"), b"user.large", os.urandom(LARGE_XATTR[kind]))
    (source / "folder").mkdir()
    os.setxattr(source / "folder", b"user.of.folder", b"1")
    os.symlink("nowhere", source / "link")
    os.setxattr(source / "link", b"trusted.link", b"2", follow_symlinks=False)
    os.mkfifo(source / "fifo")
    os.setxattr(source / "fifo", b"trusted.fifo", b"3", follow_symlinks=False)
    copied(trees)
    assert os.getxattr(trees[2] / "attributes", b"user.caf\xe9") == b"name that is not UTF-8"


@pytest.mark.parametrize("replace", [False, True])
def test_flags(trees: tuple[str, Path, Path], replace: bool) -> None:
    """Immutable, append only, no dump, no atime and storage flags survive, on files and folders."""
    kind, source, _ = trees
    for flag in "iadA":
        folder = source / f"folder-{flag}"
        folder.mkdir()
        make(folder / "child")
        run("chattr", f"+{flag}", make(source / f"file-{flag}", mode=0o444), folder)
    both = make(source / "both")
    os.link(both, source / "another name")
    run("chattr", "+ia", both)
    if kind == "btrfs":
        for flag in "Cc":
            run("chattr", f"+{flag}", make(source / f"stored-{flag}", b""))
            (source / f"stored-{flag}").write_bytes(b"x" * 9000)
        run("chattr", "+C", (source / "folder-a"), check=False)
    copied(trees, replace=replace)


def test_links_and_special_files(trees: tuple[str, Path, Path]) -> None:
    """Fifos, sockets, devices, and symbolic links with long or dangling targets keep owner, mode and time."""
    kind, source, _ = trees
    os.mkfifo(source / "fifo", 0o640)
    listener = socket.socket(socket.AF_UNIX)
    here = os.open(source, os.O_RDONLY)
    listener.bind(f"/proc/self/fd/{here}/socket")
    listener.close()
    os.close(here)
    os.mknod(source / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mknod(source / "disk", stat.S_IFBLK | 0o660, os.makedev(259, 100000))
    os.symlink("/does/not/exist", source / "dangling")
    os.symlink("x/" * (LONG_TARGET[kind] // 2), source / "long")
    os.symlink(b"caf\xe9", os.fsencode(source / "bytes"))
    for number, name in enumerate(["fifo", "socket", "null", "disk", "dangling", "long"]):
        os.chown(source / name, 1000 + number, 2000 + number, follow_symlinks=False)
        os.utime(source / name, ns=(0, 10**18 + 123456789 + number), follow_symlinks=False)
    copied(trees)


def test_hard_links_across_folders(trees: tuple[str, Path, Path]) -> None:
    """Names of one file in several folders are one file again, also for symbolic links and fifos."""
    source = trees[1]
    for folder in ("a", "b", "b/c"):
        (source / folder).mkdir()
    make(source / "a" / "file", b"x" * 10000)
    os.mkfifo(source / "a" / "fifo")
    os.symlink("target", source / "a" / "symlink")
    for name in ("file", "fifo", "symlink"):
        os.link(source / "a" / name, source / "b" / name, follow_symlinks=False)
        os.link(source / "a" / name, source / "b" / "c" / name, follow_symlinks=False)
    copied(trees)


def test_sparse_files(trees: tuple[str, Path, Path]) -> None:
    """Holes at the start, in the middle, at the end and everywhere stay holes."""
    source, block = trees[1], 1 << 16
    for name, size, pieces in (
        ("leading", 5 * block, [4]),
        ("middle", 5 * block, [0, 4]),
        ("trailing", 5 * block + 77, [0]),
        ("alternating", 40 * block, range(0, 40, 2)),
        ("all hole", 3 * block + 1, []),
        ("small hole", 5, []),
        ("empty", 0, []),
    ):
        with (source / name).open("wb") as file:
            file.truncate(size)
            for piece in pieces:
                os.pwrite(file.fileno(), os.urandom(block), piece * block)
    copied(trees)


def test_a_sparse_file_of_100_gigabytes(trees: tuple[str, Path, Path]) -> None:
    """A file that is nearly all hole is copied in the time of its data, and takes no more room."""
    _, source, target = trees
    data = os.urandom(1 << 16)
    with (source / "huge").open("wb") as file:
        file.truncate(100 << 30)
        for offset in (1 << 30, 99 << 30):
            os.pwrite(file.fileno(), data, offset)
    assert Copier(source, target).problems == []
    before, after = (source / "huge").stat(), (target / "huge").stat()
    assert (after.st_size, after.st_blocks) == (before.st_size, before.st_blocks)
    with (target / "huge").open("rb") as file:
        assert os.pread(file.fileno(), 1 << 16, 99 << 30) == data
        assert [extent.offset for extent in data_extents(file.fileno(), 100 << 30) if not extent.is_hole] == [
            1 << 30,
            99 << 30,
        ]


def test_times(trees: tuple[str, Path, Path]) -> None:
    """Times before 1970, and to the nanosecond, survive on files, folders and links."""
    source = trees[1]
    for number, when in enumerate(
        (-1, -1_500_000_001, -(10**18), 0, 1, 10**18 + 999_999_999, 4 * 10**18 + 7)
    ):
        folder = source / f"folder{number}"
        folder.mkdir()
        os.symlink("x", source / f"link{number}")
        for path in (
            make(source / f"file{number}"),
            make(folder / "child"),
            folder,
            source / f"link{number}",
        ):
            os.utime(path, ns=(when, when), follow_symlinks=False)
    copied(trees)


def test_over_an_older_tree(trees: tuple[str, Path, Path]) -> None:
    """Restoring over a tree with other content, protected files and foreign attributes gives the source."""
    _, source, target = trees
    for name in ("file", "one", "linked"):
        make(source / name, b"new" * 3000)
    os.link(source / "linked", source / "linked too")
    os.symlink("new", source / "link")
    (source / "folder").mkdir()
    make(source / "folder" / "child", b"new")
    for name in ("file", "one", "linked"):
        make(target / name, b"old")
    os.link(target / "linked", target / "linked too")
    os.symlink("old", target / "link")
    (target / "folder").mkdir(mode=0o700)
    make(target / "folder" / "child", b"old")
    os.setxattr(target / "folder", b"user.foreign", b"1")
    run("setfacl", "-d", "-m", "u:1234:rwx", target / "folder")
    run("chattr", "+i", target / "one", target / "folder" / "child")
    run("chattr", "+a", target / "folder")
    copied(trees, replace=True)
    copied(trees, replace=True)
