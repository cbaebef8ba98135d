"""A mounted repository, judged by the kernel and by rsync."""

import errno
import os
import random
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from ctypes.util import find_library
from dataclasses import dataclass
from pathlib import Path

import pytest

BACKSTAY = Path(sys.executable).with_name("backstay")
MANY = 5000


def obstacle() -> str:
    """Why nothing can be mounted here, or nothing."""
    if not (find_library("fuse") or find_library("fuse3")):
        return "libfuse is not installed"
    try:
        os.close(os.open("/dev/fuse", os.O_RDWR))
    except OSError as error:
        return f"/dev/fuse cannot be opened: {error.strerror}"
    return "" if os.geteuid() == 0 else "devices and owners of the test tree need root"


pytestmark = pytest.mark.skipif(bool(obstacle()), reason=obstacle())


@dataclass
class Place:
    """A folder with a source, a repository of it, and the environment that commands need."""

    folder: Path
    environment: dict[str, str]

    @property
    def source(self) -> Path:
        """What is backed up."""
        return self.folder / "source"

    @property
    def repository(self) -> Path:
        """Where it is stored."""
        return self.folder / "repository"

    def backstay(self, *words: str | Path) -> "subprocess.CompletedProcess[str]":
        """Run `backstay repo …` to its end."""
        command = [str(BACKSTAY), "repo", *map(str, words)]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)

    def backup(self) -> None:
        """Back the source up."""
        done = self.backstay("backup", self.repository, self.source)
        assert done.returncode == 0, done.stderr

    def mount(self, target: Path) -> "subprocess.Popen[str]":
        """Mount, and return when it is there."""
        target.mkdir()
        process = subprocess.Popen(
            [str(BACKSTAY), "repo", "mount", str(self.repository), str(target), "--json"],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        assert '"mounted"' in process.stdout.readline(), process.communicate()[1]
        return process


def make_place(folder: Path) -> Place:
    """An empty source and a new repository."""
    environment = {
        **os.environ,
        "BACKSTAY_PASSPHRASE": "a passphrase of several words",
        "BACKSTAY_CACHE": str(folder / "cache"),
        "BACKSTAY_STATE": str(folder / "state"),
    }
    place = Place(folder, environment)
    place.source.mkdir()
    done = place.backstay("init", place.repository, "--recovery-sheet", folder / "sheet.txt")
    assert done.returncode == 0, done.stderr
    return place


def in_mount(target: Path, place: Place) -> Path:
    """The source as the latest restore point shows it."""
    (server,) = target.iterdir()
    latest = server / "default" / "latest"
    return Path(f"{latest}{place.source}")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A backed up tree with all kinds of files."""
    place = make_place(tmp_path_factory.mktemp("mount"))
    source = place.source
    (source / "folder").mkdir()
    (source / "file").write_bytes(b"content")
    os.link(source / "file", source / "folder" / "again")
    (source / "folder" / "link").symlink_to("../file")
    (source / "folder" / "dangling").symlink_to(b"\xff\xfe nowhere".decode(errors="surrogateescape"))
    os.mkfifo(source / "pipe")
    os.mknod(source / "null", 0o020640, os.makedev(1, 3))
    (source / "empty").touch()
    os.chown(source / "empty", 12345, 54321)
    (source / "empty").chmod(0o4751)
    with open(os.fsencode(source) + b"/not \xff\xfe utf-8\n", "wb") as file:  # noqa: PTH123  a name in bytes
        file.write(b"x")
    (source / "large").write_bytes(random.Random(1).randbytes(9_000_000))
    with (source / "sparse").open("wb") as file:
        file.seek(5 << 20)
        file.write(b"y" * 8192)
        file.truncate(20 << 20)
    os.utime(source / "file", ns=(1, 1_234_567_890_123_456_789))
    os.utime(source / "empty", ns=(1, -5_000_000_001))
    many = source / "many"
    many.mkdir()
    for number in range(MANY):
        (many / f"{number:05d}").touch()
    if shutil.which("setfattr") and shutil.which("setfacl"):
        subprocess.run(["setfattr", "-n", "user.note", "-v", "kept", source / "file"], check=False)
        subprocess.run(["setfacl", "-m", "u:1000:r", source / "folder"], check=False)
    place.backup()
    return place


@pytest.fixture(scope="module")
def view(place: Place) -> Iterator[Path]:
    """The source in a mount."""
    target = place.folder / "mounted"
    process = place.mount(target)
    yield in_mount(target, place)
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    assert list(target.iterdir()) == []


@pytest.mark.skipif(shutil.which("rsync") is None, reason="rsync is not installed")
@pytest.mark.parametrize("forth", [True, False])
def test_rsync_finds_no_difference(place: Place, view: Path, forth: bool) -> None:
    """Content and all metadata, ACLs and hard links included, are the same for rsync in both directions."""
    pair = [f"{place.source}/", f"{view}/"]
    options = ["-aAHXn", "--checksum", "--delete", "--itemize-changes"]
    done = subprocess.run(
        ["rsync", *options, *(pair if forth else pair[::-1])], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


def test_stat_is_exact(place: Place, view: Path) -> None:
    """Nanoseconds, also before 1970, sizes, owners, link counts and devices are those of the source."""
    fields = ("st_mode", "st_nlink", "st_uid", "st_gid", "st_size", "st_mtime_ns", "st_rdev")
    for name in ("file", "empty", "pipe", "null", "sparse", "large", "folder/link", "folder/dangling"):
        expected, found = os.lstat(place.source / name), os.lstat(view / name)
        assert [getattr(found, one) for one in fields] == [getattr(expected, one) for one in fields], name
    assert (view / "file").stat().st_ino == (view / "folder" / "again").stat().st_ino
    assert (view / "file").stat().st_ino != (view / "empty").stat().st_ino
    assert (view / "sparse").stat().st_blocks * 512 < 1 << 20


def test_large_folder_lists_each_name_once(place: Place, view: Path) -> None:
    """A folder of several pages is listed whole, also from the beginning again."""
    for _ in range(2):
        assert sorted(os.listdir(view / "many")) == sorted(os.listdir(place.source / "many"))
    names = os.listdir(os.fsencode(view))
    assert sorted(names) == sorted(os.listdir(os.fsencode(place.source)))
    assert b"not \xff\xfe utf-8\n" in names


def test_refusals(view: Path) -> None:
    """What is not there, is no folder, or would be written is refused as on any read-only file system."""
    for path, flags, number in (
        (view / "none", os.O_RDONLY, errno.ENOENT),
        (view / "many" / "99999", os.O_RDONLY, errno.ENOENT),
        (view / "file" / "below", os.O_RDONLY, errno.ENOTDIR),
        (view / "new", os.O_WRONLY | os.O_CREAT, errno.EROFS),
        (view / "file", os.O_WRONLY, errno.EROFS),
    ):
        with pytest.raises(OSError) as caught:
            os.close(os.open(path, flags))
        assert caught.value.errno == number, path
    with pytest.raises(OSError) as caught:
        os.getxattr(view / "empty", "user.none")
    assert caught.value.errno == errno.ENODATA


def test_reads_end_where_the_file_ends(place: Place, view: Path) -> None:
    """Reading at the end gives the rest, and past it nothing; holes read as zeros."""
    size = (place.source / "large").stat().st_size
    with (view / "large").open("rb") as file:
        file.seek(size - 5)
        assert len(file.read(100)) == 5
        file.seek(size + 1000)
        assert file.read(100) == b""
    assert (view / "empty").read_bytes() == b""
    assert (view / "sparse").read_bytes() == (place.source / "sparse").read_bytes()


def test_many_readers_at_once(place: Place, view: Path) -> None:
    """Readers of random places at the same time each get the right bytes."""
    expected = (place.source / "large").read_bytes()

    def read(seed: int) -> bool:
        chosen = random.Random(seed)
        descriptor = os.open(view / "large", os.O_RDONLY)
        try:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_RANDOM)
            for _ in range(40):
                at, length = chosen.randrange(len(expected)), chosen.randrange(1, 300_000)
                if os.pread(descriptor, length, at) != expected[at : at + length]:
                    return False
            return True
        finally:
            os.close(descriptor)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(read, range(8)))


def test_names_of_restore_points(place: Place, view: Path) -> None:
    """Each restore point has a folder with its time and id; `latest` leads to the newest."""
    of_set = next(parent for parent in view.parents if parent.name == "latest").parent
    points = [name for name in os.listdir(of_set) if name != "latest"]
    assert len(points) == 1
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d [0-9a-f]{10}", points[0])
    assert (of_set / "latest").readlink() == Path(points[0])


def test_damage_is_an_error_of_that_file_only(tmp_path: Path) -> None:
    """A file whose pack is damaged gives EIO, the user is told once, and all else can be read."""
    place = make_place(tmp_path)
    (place.source / "early").write_bytes(random.Random(1).randbytes(3_000_000))
    place.backup()
    packs = {path for path in (place.repository / "packs").rglob("*") if path.is_file()}
    (place.source / "late").write_bytes(random.Random(2).randbytes(3_000_000))
    place.backup()
    for pack in packs:
        data = bytearray(pack.read_bytes())
        if len(data) > 1_000_000:
            data[len(data) // 2] ^= 1
            pack.chmod(0o600)
            pack.write_bytes(data)
    target = tmp_path / "mounted"
    process = place.mount(target)
    try:
        view = in_mount(target, place)
        for _ in range(2):
            with pytest.raises(OSError) as caught:
                (view / "early").read_bytes()
            assert caught.value.errno == errno.EIO
        assert (view / "late").read_bytes() == (place.source / "late").read_bytes()
    finally:
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
    assert process.returncode == 0
    assert len(re.findall(r"packs/\S+ is damaged", errors)) == 1
    assert "Traceback" not in errors


def test_unmounts_while_in_use(place: Place, tmp_path: Path) -> None:
    """At SIGTERM nothing stays mounted, also when a file is open."""
    target = tmp_path / "mounted"
    process = place.mount(target)
    descriptor = os.open(in_mount(target, place) / "large", os.O_RDONLY)
    try:
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        assert not target.is_mount()
        assert list(target.iterdir()) == []
        assert process.stderr is not None
        assert process.stderr.read() == ""
    finally:
        with suppress(OSError):  # whoever would answer close(2) is gone
            os.close(descriptor)


def test_ends_when_unmounted_by_hand(place: Place, tmp_path: Path) -> None:
    """`umount` ends the program in order."""
    target = tmp_path / "mounted"
    process = place.mount(target)
    subprocess.run(["umount", target], check=True)
    out, _ = process.communicate(timeout=20)
    assert process.returncode == 0
    assert '"unmounted"' in out


def test_folder_that_cannot_be_mounted_on(place: Place, tmp_path: Path) -> None:
    """No folder, a file, a folder that is not empty: one sentence, a hint, exit code 1."""
    (tmp_path / "file").touch()
    for target, words in (
        (tmp_path / "none", "there is no folder"),
        (tmp_path / "file", "is not a folder"),
        (place.source, "is not empty"),
    ):
        done = place.backstay("mount", place.repository, target)
        assert done.returncode == 1
        assert words in done.stderr
        assert "hint:" in done.stderr
        assert "Traceback" not in done.stderr


def test_system_without_libfuse(place: Place, tmp_path: Path) -> None:
    """Where libfuse cannot be found, the user is told what to install."""
    elsewhere = Place(place.folder, {**place.environment, "FUSE_LIBRARY_NAME": "no-such-library"})
    done = elsewhere.backstay("mount", place.repository, tmp_path)
    assert done.returncode == 1
    assert "libfuse cannot be used" in done.stderr
    assert "apt install fuse3" in done.stderr
    assert "Traceback" not in done.stderr
