"""LocalStorage on full and read-only filesystems, and under SIGKILL."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from backstay.domain.errors import ObjectNotFound, StorageError, StorageFull
from backstay.storage.local import LocalStorage


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real filesystem of 1 MiB and 40 inodes."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount")
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1M,nr_inodes=40", "backstay-test", str(disk)]
    mounted = subprocess.run(command, check=False, capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"no filesystem can be mounted here: {mounted.stderr.strip()}")
    try:
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_full_disk(small_disk):
    """A put that does not fit says so and leaves nothing; with room it works again."""
    storage = LocalStorage(small_disk / "store", create=True)
    storage.put("p/first", [b"1" * 600_000])
    free = storage.free_bytes()
    with pytest.raises(StorageFull, match="p/second") as caught:
        storage.put("p/second", [b"2" * 100_000] * 6)
    assert caught.value.hint
    assert storage.free_bytes() == free
    assert not storage.exists("p/second")
    assert [info.name for info in storage.list("")] == ["p/first"]
    storage.put("p/first", [b"1" * 600_000])
    storage.delete("p/first")
    storage.put("p/second", [b"2" * 100_000] * 6)
    storage.sync()
    assert storage.get("p/second") == b"2" * 600_000


def test_no_inodes_left(small_disk):
    """A disk that takes no more files is full too, in the middle of making folders as well."""
    storage = LocalStorage(small_disk / "store", create=True)
    stored = set()
    with pytest.raises(StorageFull):
        for number in range(100):
            storage.put(f"p/{number}/x", [b"1"])
            stored.add(f"p/{number}/x")
    storage.sync()
    assert {info.name for info in storage.list("")} == stored
    storage.delete("p/0/x")
    storage.put("p/1/y", [b"2"])
    assert storage.get("p/1/y") == b"2"


def test_read_only_disk(small_disk):
    """A filesystem that went read-only is read as before, and a put says what it is."""
    storage = LocalStorage(small_disk / "store", create=True)
    storage.put("x", [b"1"])
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    assert storage.get("x") == b"1"
    for attempt in (lambda: storage.put("y", [b"2"]), lambda: storage.delete("x")):
        with pytest.raises(StorageError, match="Read-only") as caught:
            attempt()
        assert "read-only" in caught.value.hint
    assert LocalStorage(small_disk / "store").get("x") == b"1"


def test_unmounted_disk(small_disk, tmp_path):
    """When its disk is unmounted nothing seems merely absent, and nothing is written below."""
    storage = LocalStorage(small_disk)
    storage.put("x", [b"1"])
    subprocess.run(["umount", str(small_disk)], check=True)
    try:
        for attempt in (
            lambda: storage.get("x"),
            lambda: storage.put("y", [b"2"]),
            lambda: list(storage.list("")),
        ):
            with pytest.raises(StorageError, match="vanished") as caught:
                attempt()
            assert not isinstance(caught.value, ObjectNotFound)
        assert list(small_disk.iterdir()) == []
    finally:
        subprocess.run(["mount", "-t", "tmpfs", "backstay-test", str(small_disk)], check=True)


PUT_WITHOUT_END = """
import sys
from concurrent.futures import ThreadPoolExecutor
from backstay.storage.local import LocalStorage
storage = LocalStorage(sys.argv[1])
def work(thread):
    number = int(sys.argv[2])
    while True:
        name = f"packs/{number % 7}/{thread}-{number}"
        block = name.encode().ljust(32, b".") * 2000
        storage.put(name, [block, name.encode(), block])
        number += 1
with ThreadPoolExecutor(2) as pool:
    running = [pool.submit(work, thread) for thread in range(2)]
    print("running", flush=True)
    for work in running:
        work.result()
"""


def test_killed_at_random_moments(tmp_path):
    """After each of 20 kills every listed object is whole, and the next process goes on and clears up."""
    root = tmp_path / "store"
    storage = LocalStorage(root, create=True)
    random = Random(20)
    left_aside = 0
    before = 0
    for turn in range(20):
        child = subprocess.Popen(
            [sys.executable, "-c", PUT_WITHOUT_END, str(root), str(turn * 1_000_000)], stdout=subprocess.PIPE
        )
        try:
            assert child.stdout.readline() == b"running\n"
            time.sleep(random.uniform(0.01, 0.06))
        finally:
            child.send_signal(signal.SIGKILL)
            child.wait()
            child.stdout.close()
        left_aside += sum(1 for _ in (root / ".aside").iterdir())
        infos = list(storage.list(""))
        assert len(infos) > before
        before = len(infos)
        for name, size, _ in infos:
            block = name.rpartition("\0")[2].encode().ljust(32, b".") * 2000
            assert size == 2 * len(block) + len(name)
            assert storage.get(name) == block + name.encode() + block
            if turn < 19:
                storage.delete(name)
                before -= 1
    assert left_aside > 0
    LocalStorage(root).put("last", [b"1"])
    assert list((root / ".aside").iterdir()) == []
    assert all((root / info.name).stat().st_nlink == 1 for info in storage.list(""))
