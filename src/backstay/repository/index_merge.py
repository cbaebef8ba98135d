"""Merging mapped index runs into one file, a slice of the key space at a time."""

from collections.abc import Container
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from backstay.domain.errors import DamagedObject
from backstay.repository.index import (
    ENTRY_LENGTH,
    HEADER_LENGTH,
    MAGIC,
    PACK_LENGTH,
    PackRecord,
    Run,
    encode_packs,
)

_SLICE_ENTRIES = 1 << 20
_KEYS = 1 << 64


def merge_runs(
    runs: list[Run],
    target: Path,
    *,
    without: Container[bytes] = frozenset(),
    first: int = 0,
    last: int = _KEYS,
) -> int:
    """Write the merge of `runs` to `target`, and return the number of its entries.

    Every entry is kept, also several of one blob. Needs memory for about a million
    entries, however long the runs are.

    Args:
        without: digests of packs to leave out.
        first, last: the part of the key space: first 8 bytes of the prefix, as a number; last is excluded.
    """
    table: dict[PackRecord, int] = {}
    renumber: list[npt.NDArray[np.uint32]] = []
    for run in runs:
        packs = [-1 if pack.digest in without else table.setdefault(pack, len(table)) for pack in run.packs()]
        renumber.append(np.array(packs, dtype=np.int64).astype(np.uint32))
    columns = [run_columns(run) for run in runs]
    for run, numbers, parts in zip(runs, renumber, columns, strict=True):
        if run.entries and int(parts[2].max()) >= len(numbers):
            raise DamagedObject(str(run.path), "an entry names a pack that the run does not have")
    bounds = [(_row(parts, first), _row(parts, last)) for parts in columns]
    total = sum(
        int(np.count_nonzero(numbers[parts[2][start:end]] != _GONE))
        for numbers, parts, (start, end) in zip(renumber, columns, bounds, strict=True)
    )
    base = HEADER_LENGTH + PACK_LENGTH * len(table)
    slices = max(1, -(-total // _SLICE_ENTRIES))
    done = 0
    with target.open("wb") as file:
        file.write(MAGIC + total.to_bytes(8, "little") + len(table).to_bytes(4, "little") + bytes(12))
        file.write(encode_packs(table))
        file.truncate(base + ENTRY_LENGTH * total)
        starts = [start for start, _ in bounds]
        for number in range(1, slices + 1):
            until = first + (last - first) * number // slices
            ends = [_row(parts, until) for parts in columns]
            piece = _slice(columns, renumber, starts, ends)
            order = np.lexsort((piece[1], piece[0]))
            at = base
            for values, width in zip(piece, (8, 8, 4, 4, 4, 4), strict=True):
                file.seek(at + width * done)
                file.write(values[order].tobytes())
                at += width * total
            done += len(order)
            starts = ends
    return total


_GONE = np.uint32(0xFFFFFFFF)


def _row(parts: list[npt.NDArray[Any]], key: int) -> int:
    return len(parts[0]) if key >= _KEYS else int(np.searchsorted(parts[0], np.uint64(key)))


def _slice(
    columns: list[list[npt.NDArray[Any]]],
    renumber: list[npt.NDArray[np.uint32]],
    starts: list[int],
    ends: list[int],
) -> list[npt.NDArray[Any]]:
    pieces: list[list[npt.NDArray[Any]]] = [[] for _ in range(6)]
    for numbers, parts, start, end in zip(renumber, columns, starts, ends, strict=True):
        packs = numbers[parts[2][start:end]]
        kept = packs != _GONE
        for column, piece in enumerate(pieces):
            values = packs if column == 2 else parts[column][start:end]
            piece.append(values[kept])
    return [np.concatenate(piece) for piece in pieces]


def run_columns(run: Run) -> list[npt.NDArray[Any]]:
    """The six columns of a run, mapped: two of the prefix, then pack, frame, offset, length."""
    return [
        np.frombuffer(column, dtype=np.uint64 if number < 2 else np.uint32)
        for number, column in enumerate(run.columns())
    ]
