"""Which mount holds a path."""

import os
import subprocess
from pathlib import Path

import pytest

from backstay.recovery_points.volume import Mounts, real_place

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to mount")

LINES = rb"""22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime shared:1 master:2 - ext4 /dev/vda rw,discard
41 27 0:39 /@home/sub /srv/with\040space\011tab\134slash ro,noatime shared:7 - btrfs /dev/sdb1 rw,subvolid=257
42 27 0:40 / /empty rw - tmpfs  rw
"""


def run(*command: object) -> None:
    """Run a command."""
    subprocess.run(list(map(str, command)), check=True, capture_output=True)


def test_lines_are_read() -> None:
    """Every field comes out decoded, with any number of optional ones before the dash."""
    proc, root, home, empty = Mounts(LINES).all
    assert (proc.point, proc.fs_type, proc.is_read_only) == (b"/proc", "proc", False)
    assert (root.id, root.device, root.root, root.point, root.source) == (
        27,
        b"254:0",
        b"/",
        b"/",
        b"/dev/vda",
    )
    assert home.point == b"/srv/with space\ttab\\slash"
    assert (home.root, home.fs_type, home.source) == (b"/@home/sub", "btrfs", b"/dev/sdb1")
    assert home.options == {b"ro", b"noatime"}
    assert (empty.fs_type, empty.source, empty.point) == ("tmpfs", b"", b"/empty")


def test_read_only_is_said_of_the_file_system() -> None:
    """A read-only mount of a file system that can be written elsewhere may change, so it does not count."""
    home = Mounts(LINES).all[2]
    assert not home.is_read_only
    assert home._replace(super_options=frozenset((b"ro", b"subvol=/"))).is_read_only


@pytest.mark.parametrize(
    ("number", "path", "inner"),
    [
        (1, b"/", b""),
        (1, b"/srv/data", b"srv/data"),
        (2, b"/srv/with space\ttab\\slash", b"@home/sub"),
        (2, b"/srv/with space\ttab\\slash/a/b", b"@home/sub/a/b"),
    ],
)
def test_inner_paths(number: int, path: bytes, inner: bytes) -> None:
    """A live path becomes the path in the file system, whatever part of it is mounted."""
    assert Mounts(LINES).all[number].inner(path) == inner


def test_holding_is_what_the_kernel_says(tmp_path: Path) -> None:
    """A path is held by the mount with its device; one that is gone by none."""
    mounts = Mounts.read()
    proc = mounts.holding(b"/proc/self")
    assert proc is not None
    assert proc.fs_type == "proc"
    assert mounts.holding(os.fsencode(tmp_path / "gone")) is None
    (tmp_path / "link").symlink_to("/proc")
    assert mounts.holding(os.fsencode(tmp_path / "link")) is mounts.holding(os.fsencode(tmp_path))


def test_unknown_mounts_hold_nothing() -> None:
    """A mount that came after the list was read is not taken for another one."""
    assert Mounts(b"").holding(b"/") is None


@as_root
def test_only_visible_mounts_count(tmp_path: Path) -> None:
    """Of mounts that cover each other the upper one counts, and none below a covered folder."""
    outer = tmp_path / "outer"
    outer.mkdir()
    mounted: list[Path] = []

    def mount(where: Path, name: str) -> None:
        where.mkdir(exist_ok=True)
        run("mount", "-t", "tmpfs", name, where)
        mounted.append(where)

    try:
        mount(outer, "first")
        mount(outer / "a", "covered")
        mount(outer, "second")
        mount(outer / "b", "low")
        mount(outer / "b", "high")
        mount(outer / "b" / "c", "deep")
        mounts = Mounts.read()
        found = [mount.source for mount in mounts.below(os.fsencode(tmp_path))]
        holding = mounts.holding(os.fsencode(outer))
        assert found == [b"second", b"high", b"deep"]
        assert holding is not None
        assert holding.source == b"second"
        assert [mount.source for mount in mounts.below(os.fsencode(outer))] == [b"high", b"deep"]
    finally:
        for where in reversed(mounted):
            run("umount", where)


def test_real_places(tmp_path: Path) -> None:
    """Links on the way are resolved; a link at the end is meant itself."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "way").symlink_to("folder")
    (tmp_path / "folder" / "end").symlink_to("/etc")
    base = os.path.realpath(os.fsencode(tmp_path))
    assert real_place(os.fsencode(tmp_path / "way" / "end")) == base + b"/folder/end"
    assert real_place(b"/") == b"/"
