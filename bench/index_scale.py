"""The index with many millions of blobs: how it is built, opened and asked, and what memory it takes.

Synthetic blobs with random ids, as keyed hashes are, go through the very code that a
backup uses: runs as a writing session makes them, merged as the cache does. Each
measurement of memory is a process of its own.

    python bench/index_scale.py --work DIR [--blobs N ...]
"""

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import time
from array import array
from pathlib import Path
from threading import Event, Thread
from typing import Any

import machine
from backstay.repository.index import ENTRY_LENGTH, RUN_ENTRIES, Index, Run, RunBuilder
from backstay.repository.index_cache import MOST_RUNS
from backstay.repository.index_merge import merge_runs
from backstay.repository.pack import BlobKind, Trailer

_BLOBS_PER_PACK = 2048
_BLOBS_PER_FRAME = 64
_BLOB_BYTES = 16_000
_LOOKUPS = 200_000
_QUICK_LOOKUPS = 10_000
_RUNS_ASKED = 20
_QUICK_BLOBS = 140_000
_WATCH_SECONDS = 0.005
_PAGE_BYTES = 4096


def ids_of(run: int, count: int) -> bytes:
    """The ids of a run's blobs, 32 bytes each."""
    return random.Random(run).randbytes(32 * count)


def encode_run(run: int, count: int) -> bytes:
    """A run with `count` blobs, as a writing session makes it."""
    builder = RunBuilder()
    ids = ids_of(run, count)
    numbers = array("I", (row // _BLOBS_PER_FRAME for row in range(_BLOBS_PER_PACK)))
    offsets = array("I", (row % _BLOBS_PER_FRAME * _BLOB_BYTES for row in range(_BLOBS_PER_PACK)))
    lengths = array("I", [_BLOB_BYTES]) * _BLOBS_PER_PACK
    for first in range(0, count, _BLOBS_PER_PACK):
        blobs = min(_BLOBS_PER_PACK, count - first)
        trailer = Trailer(
            session=bytes(16),
            keys=[],
            ids=bytearray(ids[32 * first : 32 * (first + blobs)]),
            kinds=bytearray([BlobKind.DATA]) * blobs,
            frame_numbers=numbers[:blobs],
            offsets=offsets[:blobs],
            lengths=lengths[:blobs],
        )
        digest = random.Random(f"pack {run} {first}").randbytes(32)
        builder.add_pack(digest, blobs * _BLOB_BYTES, trailer)
    return builder.encode()


def build(folder: Path, blobs: int) -> dict[str, float]:
    """Runs of `blobs` blobs in all, their merges into a few, and the merge of those into one."""
    folder.mkdir(parents=True)
    watch = MemoryWatch()
    started = time.monotonic()
    runs: list[Path] = []
    for number, first in enumerate(range(0, blobs, RUN_ENTRIES)):
        path = folder / f"source-{number:05d}.run"
        path.write_bytes(encode_run(number, min(RUN_ENTRIES, blobs - first)))
        runs.append(path)
    built = time.monotonic()
    parts = min(MOST_RUNS, len(runs))
    for part in range(parts):
        merge_runs([Run(path) for path in runs[part::parts]], folder / f"part-{part}.run")
    merge_runs([Run(folder / f"part-{part}.run") for part in range(parts)], folder / "whole.run")
    return {
        "run_seconds": built - started,
        "merge_seconds": time.monotonic() - built,
        "anonymous_bytes": watch.end(),
    }


class MemoryWatch:
    """Looks every few milliseconds how much memory the process holds that is not a mapped file."""

    def __init__(self) -> None:
        self._least = self._most = status_bytes("RssAnon")
        self._ended = Event()
        self._thread = Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        while not self._ended.wait(_WATCH_SECONDS):
            self._most = max(self._most, status_bytes("RssAnon"))

    def end(self) -> int:
        """The most that was seen, less what there was at first, in bytes."""
        self._ended.set()
        self._thread.join()
        return self._most - self._least


def status_bytes(name: str) -> int:
    """A size from /proc/self/status; proc(5)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) * 1024
    return 0


def resident_runs() -> int:
    """How much of the mapped runs is resident, in bytes; /proc/self/smaps of proc(5)."""
    total = 0
    of_run = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        first = line.split(maxsplit=1)[0]
        if not first.endswith(":"):
            of_run = line.endswith(".run")
        elif of_run and first == "Rss:":
            total += int(line.split()[1]) * 1024
    return total


def lookups(blobs: int) -> int:
    """How many ids are looked up."""
    return _LOOKUPS if blobs > _QUICK_BLOBS else _QUICK_LOOKUPS


def some_ids(blobs: int) -> list[bytes]:
    """As many ids of an index of `blobs` as are looked up, in random order."""
    chosen = random.Random("present")
    runs = -(-blobs // RUN_ENTRIES)
    asked = chosen.sample(range(runs), min(runs, _RUNS_ASKED))
    found: list[bytes] = []
    for run in asked:
        count = min(RUN_ENTRIES, blobs - run * RUN_ENTRIES)
        ids = ids_of(run, count)
        rows = (chosen.randrange(count) for _ in range(lookups(blobs) // len(asked)))
        found += (ids[32 * row : 32 * row + 32] for row in rows)
    chosen.shuffle(found)
    return found


def ask(paths: list[Path], blobs: int) -> dict[str, float]:
    """Open the index, look ids up at random, and tell rates, seconds and bytes of memory."""
    asked = {"present": some_ids(blobs)}
    absent = random.Random("absent")
    asked["absent"] = [absent.randbytes(32) for _ in range(lookups(blobs))]
    before = status_bytes("RssAnon")
    started = time.monotonic()
    index = Index([Run(path) for path in paths])
    found: dict[str, float] = {"open_seconds": time.monotonic() - started, "opened_bytes": resident_runs()}
    for name, ids in asked.items():
        for turn in ("first", "again"):
            started = time.monotonic()
            right = all((one in index) is (name == "present") for one in ids)
            found[f"{name}_{turn}"] = len(ids) / (time.monotonic() - started)
            if not right:
                raise SystemExit(f"an id that is {name} was not told so")
    started = time.monotonic()
    if any(index.locate(one) is None for one in asked["present"]):
        raise SystemExit("a blob that is there was not located")
    found["located"] = len(asked["present"]) / (time.monotonic() - started)
    found["touched_bytes"] = resident_runs()
    found["anonymous_bytes"] = max(0, status_bytes("RssAnon") - before)
    found["mapped_bytes"] = sum(path.stat().st_size for path in paths)
    return found


def _in_own_process(*arguments: str) -> dict[str, Any]:
    command = [sys.executable, __file__, *arguments]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def measure(folder: Path, blobs: int) -> list[str]:
    """Rows of the table for one number of blobs."""
    built = _in_own_process("--build", str(blobs), "--work", str(folder))
    rows = []
    for name in ("whole", "part"):
        found = _in_own_process("--ask", name, str(blobs), "--work", str(folder))
        cells = [
            f"{blobs:,}",
            f"{len(list(folder.glob(f'{name}*.run')))}",
            f"{found['open_seconds'] * 1e3:.2f} ms",
            f"{found['present_first']:,.0f} / {found['present_again']:,.0f}",
            f"{found['absent_first']:,.0f} / {found['absent_again']:,.0f}",
            f"{found['located']:,.0f}",
            f"{found['mapped_bytes'] / 1e6:,.0f} MB",
            f"{found['opened_bytes'] / 1e6:,.1f} / {found['touched_bytes'] / 1e6:,.0f} MB",
            f"{found['anonymous_bytes'] / 1e6:.1f} MB",
            f"{(found['mapped_bytes'] + found['anonymous_bytes']) / blobs:.2f}",
        ]
        rows.append("| " + " | ".join(cells) + " |")
    rows.append(
        f"| {blobs:,} | built | into runs: {blobs / built['run_seconds']:,.0f} entries/s | "
        f"merged twice: {blobs / built['merge_seconds']:,.0f} entries/s | "
        f"| | | | {built['anonymous_bytes'] / 1e6:.1f} MB | |"
    )
    print("\n".join(rows), flush=True)
    return rows


_HEADER = [
    "| blobs | runs | open | present/s, first / again | absent/s, first / again | located/s | mapped "
    "| resident, opened / after all | other memory | bytes a blob, at most |",
    "| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
]

_AsWritten = argparse.RawDescriptionHelpFormatter


def main(arguments: list[str]) -> None:
    """Run for each number of blobs, print the table, and add it to the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=_AsWritten)
    add = parser.add_argument
    add("--work", type=Path, required=True, metavar="DIR", help="where the index is made")
    add("--blobs", type=int, nargs="+", default=[10_000_000, 50_000_000], metavar="N")
    add("--results", type=Path, metavar="FILE", help="a record to add to")
    add("--quick", action="store_true", help="few blobs: a trial of the bench, no measurement")
    add("--build", type=int, help=argparse.SUPPRESS)
    add("--ask", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.build:
        print(json.dumps(build(options.work, options.build)))
        return
    if options.ask:
        name, blobs = options.ask
        print(json.dumps(ask(sorted(options.work.glob(f"{name}*.run")), int(blobs))))
        return
    options.work.mkdir(parents=True, exist_ok=True)
    rows = []
    for blobs in [_QUICK_BLOBS] if options.quick else options.blobs:
        folder = options.work.resolve() / f"index-{os.getpid()}"
        try:
            rows += measure(folder, blobs)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    lines = machine.describe(options.work)
    lines.append(
        f"- {_LOOKUPS:,} look-ups of each kind, at random, one thread; {ENTRY_LENGTH} bytes an entry and "
        "its share of the table of packs; the figure to hold is at most 50 bytes a blob"
    )
    lines.append(f"- repeat: `{machine.repeatable('index_scale.py', arguments, ('--work', '--results'))}`")
    lines += [machine.TRIAL] if options.quick else []
    lines += ["", *_HEADER, *rows]
    print("\n".join(lines))
    if options.results is not None:
        machine.append(options.results, "Index", lines)


if __name__ == "__main__":
    main(sys.argv[1:])
