"""Single measurements of this machine's limits, made with the very parts that a backup uses."""

import os
import stat
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

_MIB = 1 << 20
_FRAME = _MIB
_FILE_BYTES = 128 * _MIB
_DATA_BYTES = 64 * _MIB
_SYNCED_FILES = 200
_SCAN_SECONDS = 2.0


@dataclass(frozen=True)
class Measurement:
    """A rate, in units of the work per second, and how it came about."""

    name: str
    rate: float
    unit: str
    note: str

    def fields(self) -> dict[str, str | float]:
        """For JSON."""
        return {"work": self.name, "rate": round(self.rate, 1), "unit": self.unit, "how": self.note}

    def value_text(self) -> str:
        """The rate with three significant digits or more."""
        return f"{self.rate:,.0f}" if self.rate >= 100 else f"{self.rate:.1f}"


def all_measurements(tree: Path, work: Path) -> Iterator[Measurement]:
    """All of them, one after the other; each takes about a second or less.

    Args:
        tree: what is scanned.
        work: an empty folder for files; they remain.
    """
    yield from scan(tree)
    data = half_compressible(_DATA_BYTES)
    yield from write_and_read(work, data)
    yield from synced_files(work)
    yield from processing(data)


def scan(tree: Path) -> Iterator[Measurement]:
    """Listing every folder with the stat of every entry, twice."""
    for note in ("first look; the kernel may have cached part of it", "again; cached"):
        entries, seconds, whole = _scan_once(os.fsencode(tree))
        part = "" if whole else "; part of the tree"
        yield Measurement("scan", entries / seconds, "entries/s", f"{entries:,} entries, {note}{part}")


def _scan_once(tree: bytes) -> tuple[int, float, bool]:
    from backstay.filesystem.walker import list_directory

    entries, waiting = 0, [tree]
    started = time.perf_counter()
    while waiting and time.perf_counter() - started < _SCAN_SECONDS:
        folder = waiting.pop()
        try:
            fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            if folder == tree:
                raise
            continue
        try:
            listed = list_directory(fd, os.fstat(fd).st_dev, set(), []) or []
        finally:
            os.close(fd)
        entries += len(listed)
        waiting += [folder + b"/" + entry[0] for entry in listed if stat.S_ISDIR(entry[1])]
    return entries, max(time.perf_counter() - started, 1e-9), not waiting


def half_compressible(size: int) -> bytes:
    """Fresh bytes: of each 8 KiB one half is random, the other one words in random order."""
    import random

    words = [random.randbytes(3).hex().encode() + b" " for _ in range(512)]
    pieces = []
    for _ in range(size // 8192):
        text = b"".join(random.choices(words, k=600))[:4096]
        pieces += [os.urandom(8192 - len(text)), text]
    return b"".join(pieces)


def write_and_read(work: Path, data: bytes) -> Iterator[Measurement]:
    """A large file: written and synced, then read twice."""
    path = work / "large"
    started = time.perf_counter()
    with path.open("wb", buffering=0) as file:
        for _ in range(_FILE_BYTES // len(data)):
            file.write(data)
        os.fsync(file.fileno())
    yield _throughput("write", _FILE_BYTES, started, "one file of 128 MiB, with fsync")
    with path.open("rb", buffering=0) as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    for note in ("the same file, after asking the kernel to forget it", "again; cached"):
        started = time.perf_counter()
        with path.open("rb", buffering=0) as file:
            buffer = bytearray(_MIB)
            while file.readinto(buffer):
                pass
        yield _throughput("read", _FILE_BYTES, started, note)


def synced_files(work: Path) -> Iterator[Measurement]:
    """Small files, each with fsync: what a disk without a write cache is slow at."""
    started = time.perf_counter()
    for number in range(_SYNCED_FILES):
        with (work / f"small-{number}").open("wb", buffering=0) as file:
            file.write(b"x" * 4096)
            os.fsync(file.fileno())
    seconds = time.perf_counter() - started
    yield Measurement(
        "write small", _SYNCED_FILES / seconds, "files/s", f"{_SYNCED_FILES} files of 4 KiB, each with fsync"
    )


def processing(data: bytes) -> Iterator[Measurement]:
    """What is done to the bytes, frame by frame, on one thread and on all."""
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    from backstay.repository.chunker import Chunker
    from backstay.repository.compression import compress
    from backstay.repository.encryption import FrameKey, blob_hasher

    view = memoryview(data)
    frames = list(enumerate(view[at : at + _FRAME] for at in range(0, len(data), _FRAME)))
    chunker = Chunker(os.urandom(32))
    started = time.perf_counter()
    chunker.cut(view, final=True)
    yield _throughput("chunk", len(data), started, "fresh data, 1 thread")
    blob_id = blob_hasher(os.urandom(32))
    public_key = X25519PrivateKey.generate().public_key().public_bytes_raw()

    def new_key() -> FrameKey:
        return FrameKey.new(public_key, bytes(16))

    def hash_frame(key: FrameKey, number: int, frame: memoryview) -> object:
        return blob_id(frame)

    def compress_frame(key: FrameKey, number: int, frame: memoryview) -> object:
        return compress(frame)

    def encrypt_frame(key: FrameKey, number: int, frame: memoryview) -> object:
        return key.seal_frame(number, frame)

    share = sum(len(compress(frame)) for _, frame in frames) / len(data)
    works: tuple[tuple[str, Callable[[FrameKey, int, memoryview], object], str], ...] = (
        ("hash", hash_frame, "fresh data"),
        ("compress", compress_frame, f"half compressible data, to {share:.0%}"),
        ("encrypt", encrypt_frame, "fresh data"),
    )
    threads = os.cpu_count() or 1
    for name, work, note in works:
        for count in dict.fromkeys((1, threads)):
            key = new_key()
            with ThreadPoolExecutor(count) as pool:
                started = time.perf_counter()
                for _ in pool.map(lambda item, work=work, key=key: work(key, *item), frames):
                    pass
                plural = "s" if count > 1 else ""
                yield _throughput(name, len(data), started, f"{note}, {count} thread{plural}")


def _throughput(name: str, size: int, started: float, note: str) -> Measurement:
    seconds = max(time.perf_counter() - started, 1e-9)
    return Measurement(name, size / _MIB / seconds, "MiB/s", note)
