"""Trees to back up, the same for the same seed, and changes to them.

Run as a program it makes one, so that the process which measures others stays small:

    python bench/sources.py small DIR COUNT [--flat]
    python bench/sources.py large DIR COUNT BYTES
    python bench/sources.py change DIR FRACTION [--content]
"""

import argparse
import os
from collections.abc import Iterator
from pathlib import Path
from random import Random

_MIB = 1 << 20
_PER_FOLDER = 100
_FOLDERS_PER_FOLDER = 100
_WORD_LETTERS = "etaoinshrdlucmfwypvbgk"


def vocabulary(random: Random) -> list[bytes]:
    """256 words of two to nine letters, each with a space behind it."""
    return [
        "".join(random.choices(_WORD_LETTERS, k=random.randint(2, 9))).encode() + b" " for _ in range(256)
    ]


def text(random: Random, words: list[bytes], length: int) -> bytes:
    """Words in random order, `length` bytes of them; they compress to about a third."""
    return b"".join(map(words.__getitem__, random.randbytes(length // 3 + 1)))[:length]


def small_files(folder: Path, count: int, *, seed: int = 1, flat: bool = False) -> None:
    """`count` files of 100 bytes to 12 KB, half text and half random bytes; no two alike.

    Args:
        flat: put all into one folder instead of a hundred into each.
    """
    random = Random(seed)
    words = vocabulary(random)
    pool = text(random, words, _MIB)
    place = folder
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        if not flat and number % _PER_FOLDER == 0:
            group = number // _PER_FOLDER
            place = folder / f"{group // _FOLDERS_PER_FOLDER:04d}" / f"{group % _FOLDERS_PER_FOLDER:02d}"
            place.mkdir(parents=True)
        half = min(int(random.expovariate(1 / 1200)) + 50, 6000)
        at = random.randrange(_MIB - half)
        with open(f"{place}/file-{number:07d}.txt", "wb", buffering=0) as file:  # noqa: PTH123  a million times
            file.write(pool[at : at + half] + random.randbytes(half))


def large_files(folder: Path, count: int, size: int, *, seed: int = 2) -> None:
    """`count` files of `size` bytes: a mebibyte of random bytes, one of text, and so on."""
    random = Random(seed)
    words = vocabulary(random)
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        with (folder / f"large-{number:03d}.bin").open("wb") as file:
            for at in range(0, size, 2 * _MIB):
                piece = random.randbytes(_MIB) + text(random, words, _MIB)
                file.write(piece[: size - at])


def files_of(folder: Path) -> list[str]:
    """Every regular file below, sorted."""
    return sorted(entry.path for entry in _walk(str(folder)) if entry.is_file(follow_symlinks=False))


def _walk(folder: str) -> Iterator["os.DirEntry[str]"]:
    with os.scandir(folder) as entries:
        for entry in entries:
            yield entry
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(entry.path)


def measure_tree(folder: Path) -> tuple[int, int]:
    """The number of regular files below, and the bytes in them."""
    files = size = 0
    for entry in _walk(str(folder)):
        if entry.is_file(follow_symlinks=False):
            files += 1
            size += entry.stat(follow_symlinks=False).st_size
    return files, size


def read_once(folder: Path) -> None:
    """Read every file, so that the kernel has it cached where memory suffices."""
    for path in files_of(folder):
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123  a million times
            while file.read(_MIB):
                pass


def change_files(folder: Path, fraction: float, *, seed: int) -> int:
    """Write into the given part of the files, a line somewhere and a line at the end; returns how many."""
    random = Random(seed)
    files = files_of(folder)
    chosen = random.sample(files, max(1, round(len(files) * fraction)))
    for path in chosen:
        with Path(path).open("r+b") as file:
            end = file.seek(0, os.SEEK_END)
            file.write(random.randbytes(80))
            file.seek(random.randrange(end + 1))
            file.write(random.randbytes(80))
    return len(chosen)


def change_content(folder: Path, fraction: float, *, seed: int) -> int:
    """Rewrite the given part of the content, mebibytes here and there; returns how many of them."""
    random = Random(seed)
    files = files_of(folder)
    pieces = max(1, round(sum(os.stat(path).st_size for path in files) * fraction / _MIB))
    for _ in range(pieces):
        with Path(random.choice(files)).open("r+b") as file:
            end = file.seek(0, os.SEEK_END)
            at = random.randrange(max(1, end - _MIB))
            file.seek(at)
            file.write(random.randbytes(min(_MIB, end - at)))
    return pieces


_AsWritten = argparse.RawDescriptionHelpFormatter


def main() -> None:
    """Make or change a tree."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    kinds = parser.add_subparsers(dest="kind", required=True)
    small = kinds.add_parser("small")
    large = kinds.add_parser("large")
    change = kinds.add_parser("change")
    for one in (small, large, change):
        one.add_argument("folder", type=Path)
        one.add_argument("--seed", type=int, default=1)
    small.add_argument("count", type=int)
    small.add_argument("--flat", action="store_true")
    large.add_argument("count", type=int)
    large.add_argument("size", type=int)
    change.add_argument("fraction", type=float)
    change.add_argument("--content", action="store_true")
    chosen = parser.parse_args()
    if chosen.kind == "small":
        small_files(chosen.folder, chosen.count, seed=chosen.seed, flat=chosen.flat)
    elif chosen.kind == "large":
        large_files(chosen.folder, chosen.count, chosen.size, seed=chosen.seed)
    else:
        changer = change_content if chosen.content else change_files
        changer(chosen.folder, chosen.fraction, seed=chosen.seed)


if __name__ == "__main__":
    main()
