"""A restored tree is the tree that was backed up, as rsync, lsattr, getcap and getfacl see it."""

import os
import random
import socket
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: owners, devices, capabilities")


def fill(source: Path) -> None:
    """Every kind of content: tiny, small, in pieces, sparse, empty."""
    noise = random.Random(1)
    (source / "empty").write_bytes(b"")
    (source / "tiny").write_bytes(b"x" * 100)
    (source / "small").write_bytes(noise.randbytes(70_000))
    (source / "large").write_bytes(noise.randbytes(9_000_000))
    (source / "same").write_bytes((source / "small").read_bytes())
    deep = source / "a" / "b" / "c"
    deep.mkdir(parents=True)
    for number in range(300):
        (deep / f"file {number}").write_bytes(noise.randbytes(number * 20))
    (source / "empty folder").mkdir()
    with (source / "sparse").open("wb") as file:
        file.truncate(40 << 20)
        file.seek(10 << 20)
        file.write(noise.randbytes(300_000))
        file.seek(30 << 20)
        file.write(noise.randbytes(3_000_000))
        file.truncate(60 << 20)
    with (source / "hole").open("wb") as file:
        file.truncate(1 << 32)


def test_content_of_every_kind(bench, differences):
    """Files of every size, sparse ones included, come back with content, times and blocks."""
    fill(bench.source)
    outcome = bench.restore(bench.backup())
    assert outcome.problems == []
    assert outcome.verified == outcome.files == 307
    assert differences(bench.source, bench.restored) == ""


@root_only
def test_entries_of_every_kind(bench, differences):
    """Links, hard links across folders, special files, odd names, owners, modes, attributes and flags."""
    source = bench.source
    (source / "folder").mkdir()
    name = os.fsencode(source) + b"/not utf-8 \xff\xfe\n"
    with open(name, "wb") as file:  # noqa: PTH123
        file.write(b"odd")
    (source / ("n" * 255)).write_bytes(b"long")
    (source / "dangling").symlink_to("nowhere" * 30)
    (source / "first").write_bytes(b"linked" * 1000)
    os.link(source / "first", source / "folder" / "second")
    os.link(source / "first", source / "third")
    os.link(source / "dangling", source / "folder" / "linked symlink", follow_symlinks=False)
    os.mkfifo(source / "fifo", 0o620)
    os.mknod(source / "null", 0o020666, os.makedev(1, 3))
    os.mknod(source / "disk", 0o060640, os.makedev(7, 200))
    with socket.socket(socket.AF_UNIX) as server:
        os.chdir(source)
        server.bind("socket")
    for number, mode in enumerate((0o4755, 0o2755, 0o000, 0o444, 0o777, 0o1666)):
        path = source / f"mode {mode:o}"
        path.write_bytes(b"m" * 600)
        os.chown(path, 1000 + number, 2000 + number)
        path.chmod(mode)
    os.setxattr(source / "first", b"user.colour", b"\0green")
    os.setxattr(source / "folder", b"user.colour", b"blue")
    subprocess.run(["setfacl", "-m", "u:1234:rwx", source / "third"], check=True)
    subprocess.run(["setfacl", "-d", "-m", "g:77:r-x", source / "folder"], check=True)
    (source / "folder" / "inherits").write_bytes(b"i" * 1000)
    (source / "capable").write_bytes(b"c" * 2000)
    subprocess.run(["setcap", "cap_net_raw+ep", source / "capable"], check=True)
    (source / "closed").mkdir()
    (source / "closed" / "inside").write_bytes(b"1" * 700)
    (source / "closed").chmod(0o1000)
    os.utime(source / "dangling", ns=(5, -7_000_000_001), follow_symlinks=False)
    os.utime(source / "first", ns=(1, 4_000_000_000_123_456_789))
    fixed = source / "fixed"
    fixed.mkdir()
    (fixed / "stone").write_bytes(b"s" * 5000)
    os.link(fixed / "stone", source / "pebble")
    subprocess.run(["chattr", "+i", fixed / "stone", fixed], check=True)
    (source / "log").write_bytes(b"line\n" * 500)
    subprocess.run(["chattr", "+a", source / "log"], check=True)
    outcome = bench.restore(bench.backup(), numeric_ids=True)
    assert outcome.problems == []
    assert differences(source, bench.restored) == ""


def test_deeper_than_any_path(bench):
    """A tree deeper than PATH_MAX comes back."""
    names = [f"{number:04d}" + "d" * 80 for number in range(120)]
    fd = os.open(bench.source, os.O_RDONLY)
    for name in names:
        os.mkdir(name, dir_fd=fd)
        below = os.open(name, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    bottom = os.open("bottom", os.O_WRONLY | os.O_CREAT, 0o640, dir_fd=fd)
    os.write(bottom, b"deep" * 1000)
    os.close(bottom)
    os.close(fd)
    outcome = bench.restore(bench.backup())
    assert outcome.problems == []
    fd = os.open(bench.restored, os.O_RDONLY)
    for name in names:
        below = os.open(name, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    bottom = os.open("bottom", os.O_RDONLY, dir_fd=fd)
    assert os.read(bottom, 10_000) == b"deep" * 1000
    os.close(bottom)
    os.close(fd)


def test_incremental_point_restores_alone(bench, differences):
    """A point whose content lies in packs of several backups comes back whole."""
    fill(bench.source)
    first = bench.backup()
    (bench.source / "a" / "b" / "c" / "file 7").write_bytes(b"changed" * 900)
    (bench.source / "small").unlink()
    with (bench.source / "large").open("r+b") as file:
        file.seek(4_000_000)
        file.write(b"patch" * 5000)
    second = bench.backup()
    outcome = bench.restore(second)
    assert (outcome.problems, differences(bench.source, bench.restored)) == ([], "")
    older = bench.restore(first, target=os.fsencode(bench.target / "older"))
    assert older.problems == []
    assert (bench.target / "older" / bench.source.relative_to("/") / "small").stat().st_size == 70_000


def test_one_of_two_hard_links_is_restored_as_a_file(bench):
    """Where only one name of a file was chosen it comes with its content."""
    (bench.source / "one").mkdir()
    (bench.source / "two").mkdir()
    (bench.source / "one" / "a").write_bytes(b"both" * 5000)
    os.link(bench.source / "one" / "a", bench.source / "two" / "b")
    outcome = bench.restore(bench.backup(), paths=[os.fsencode(bench.source / "two")])
    assert (outcome.files, outcome.links, outcome.problems) == (1, 0, [])
    assert (bench.restored / "two" / "b").read_bytes() == b"both" * 5000
    assert not (bench.restored / "one").exists()


def test_without_permissions(bench):
    """Content and times come back, modes as for any new file."""
    path = bench.source / "script"
    path.write_bytes(b"#!/bin/sh\n" * 100)
    path.chmod(0o4711)
    os.utime(path, ns=(1, 123_456_789))
    outcome = bench.restore(bench.backup(), with_permissions=False)
    restored = (bench.restored / "script").stat()
    umask = os.umask(0)
    os.umask(umask)
    assert (outcome.problems, restored.st_mode & 0o7777) == ([], 0o777 & ~umask)
    assert restored.st_mtime_ns == 123_456_789


def test_many_more_pieces_than_open_files(bench, differences):
    """A hundred files in pieces, all unfinished at once, come back."""
    noise = random.Random(2)
    blocks = [noise.randbytes(1_300_000) for _ in range(2)]
    for number in range(100):
        (bench.source / f"file {number}").write_bytes(
            blocks[0] + bytes([number]) * 10 + blocks[1][: 1_200_000 + number]
        )
    outcome = bench.restore(bench.backup())
    assert (outcome.problems, differences(bench.source, bench.restored)) == ([], "")


names = st.binary(min_size=1, max_size=12).filter(
    lambda name: name not in (b".", b"..") and not set(name) & {0, 47}
)
contents = st.one_of(
    st.binary(max_size=2000),
    st.tuples(st.integers(0, 255), st.integers(513, 1_500_000)).map(lambda pair: bytes([pair[0]]) * pair[1]),
)
trees = st.recursive(contents, lambda below: st.dictionaries(names, below, max_size=5), max_leaves=12)


def make_tree(path: bytes, tree: object) -> None:
    """Write nested dictionaries as folders."""
    if isinstance(tree, bytes):
        with open(path, "wb") as file:  # noqa: PTH123
            file.write(tree)
    elif isinstance(tree, dict):
        os.makedirs(path, exist_ok=True)
        for name, below in tree.items():
            make_tree(path + b"/" + name, below)


def read_tree(path: bytes) -> object:
    """The tree that `make_tree` made."""
    if not os.path.isdir(path):
        with open(path, "rb") as file:  # noqa: PTH123
            return file.read()
    return {name: read_tree(path + b"/" + name) for name in os.listdir(path)}


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tree=st.dictionaries(names, trees, max_size=6))
def test_any_tree_comes_back(tree, new_bench):
    """Whatever tree is backed up is the tree that is restored."""
    bench = new_bench()
    make_tree(os.fsencode(bench.source), tree)
    assert bench.restore(bench.backup()).problems == []
    assert read_tree(os.fsencode(bench.restored)) == tree
