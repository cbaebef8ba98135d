"""Merging mapped index runs into one file, a slice of the key space at a time."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

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


def merge_runs(runs: list[Run], target: Path) -> None:
    """Write the merge of `runs` to `target`. Every entry is kept, also several of one blob.

    Needs memory for about a million entries, however long the runs are.
    """
    table: dict[PackRecord, int] = {}
    renumber: list[npt.NDArray[np.uint32]] = []
    for run in runs:
        numbers = [table.setdefault(pack, len(table)) for pack in run.packs()]
        renumber.append(np.array(numbers, dtype=np.uint32))
    total = sum(run.entries for run in runs)
    base = HEADER_LENGTH + PACK_LENGTH * len(table)
    with target.open("wb") as file:
        file.write(MAGIC + total.to_bytes(8, "little") + len(table).to_bytes(4, "little") + bytes(12))
        file.write(encode_packs(table))
        file.truncate(base + ENTRY_LENGTH * total)
        if not total:
            return
        columns = [_columns(run) for run in runs]
        starts = [0] * len(runs)
        done = 0
        slices = max(1, -(-total // _SLICE_ENTRIES))
        for number in range(1, slices + 1):
            ends = [
                run.entries
                if number == slices
                else int(np.searchsorted(parts[0], np.uint64((number << 64) // slices)))
                for run, parts in zip(runs, columns, strict=True)
            ]
            piece = [
                np.concatenate(
                    [
                        renumber[which][parts[column][start:end]] if column == 2 else parts[column][start:end]
                        for which, (parts, start, end) in enumerate(zip(columns, starts, ends, strict=True))
                    ]
                )
                for column in range(6)
            ]
            order = np.lexsort((piece[1], piece[0]))
            at = base
            for values, width in zip(piece, (8, 8, 4, 4, 4, 4), strict=True):
                file.seek(at + width * done)
                file.write(values[order].tobytes())
                at += width * total
            done += len(order)
            starts = ends


def _columns(run: Run) -> list[npt.NDArray[Any]]:
    packs = sum(1 for _ in run.packs())
    at = HEADER_LENGTH + PACK_LENGTH * packs
    columns: list[npt.NDArray[Any]] = []
    for width, kind in (
        (8, np.uint64),
        (8, np.uint64),
        (4, np.uint32),
        (4, np.uint32),
        (4, np.uint32),
        (4, np.uint32),
    ):
        columns.append(
            np.memmap(run.path, dtype=kind, mode="r", offset=at, shape=(run.entries,))
            if run.entries
            else np.empty(0, kind)
        )
        at += width * run.entries
    return columns
