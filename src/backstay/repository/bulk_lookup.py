"""Where many blobs lie, looked up together: the columns of the runs are searched as arrays."""

from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from backstay.repository.index import Index, Location, Run

Longs = npt.NDArray[np.uint64]

NOWHERE: Final = (1 << 64) - 1
"""The key of a blob that the index does not know; greater than any other."""


class Places(NamedTuple):
    """Where blobs lie, in columns.

    Attributes:
        keys: number of the pack, shifted by 32 bits, and the frame; or `NOWHERE`.
        offsets: where each begins in the raw bytes of its frame.
    """

    keys: Longs
    offsets: npt.NDArray[np.uint32]


class BulkLookup:
    """Looks blobs up, and numbers their packs from 0 in the order in which they are met.

    Attributes:
        packs: digests of the packs by number.
    """

    def __init__(self, index: Index) -> None:
        self._index = index
        self._numbers: dict[bytes, int] = {}
        self._runs = [_RunColumns(run) for run in index.runs if run.entries]
        self.packs: list[bytes] = []

    def locate(self, ids: npt.NDArray[Any]) -> Places:
        """The place of each blob, in a pack that stays where there is one.

        Args:
            ids: a column of 32-byte blob ids.
        """
        halves = np.frombuffer(ids.tobytes(), ">u8").reshape(len(ids), 4)[:, :2].astype(np.uint64)
        keys = np.full(len(ids), NOWHERE, np.uint64)
        offsets = np.zeros(len(ids), np.uint32)
        for run in self._runs:
            missing = np.flatnonzero(keys == NOWHERE)
            if not len(missing):
                break
            hits, rows = run.find(halves[missing])
            at = missing[hits]
            keys[at] = self._keys(run, rows)
            offsets[at] = run.offsets[rows]
        # What is left is unknown, condemned, or listed more than once; those are few.
        for row in np.flatnonzero(keys == NOWHERE).tolist():
            location = self._index.locate(ids[row].tobytes())
            if location is not None:
                keys[row], offsets[row] = self._key(location), location.offset
        return Places(keys, offsets)

    def _key(self, location: Location) -> int:
        return self._number(location.pack) << 32 | location.frame

    def _number(self, pack: bytes) -> int:
        number = self._numbers.setdefault(pack, len(self.packs))
        if number == len(self.packs):
            self.packs.append(pack)
        return number

    def _keys(self, run: "_RunColumns", rows: npt.NDArray[np.intp]) -> Longs:
        """Keys of these rows of a run; NOWHERE for those in condemned packs."""
        packs, firsts, places = np.unique(run.packs[rows], return_index=True, return_inverse=True)
        numbers = np.full(len(packs), NOWHERE, np.uint64)
        for place in np.argsort(firsts).tolist():
            pack = run.digests[int(packs[place])]
            if pack not in self._index.condemned:
                numbers[place] = self._number(pack)
        keys = numbers[places]
        known = keys != NOWHERE
        keys[known] = keys[known] << np.uint64(32) | run.frames[rows[known]]
        return keys


class _RunColumns:
    """A run as arrays over its mapped columns."""

    def __init__(self, run: Run) -> None:
        high, low, packs, frames, offsets, _ = run.columns()
        self._high, self._low = np.asarray(high), np.asarray(low)
        self.packs, self.frames, self.offsets = np.asarray(packs), np.asarray(frames), np.asarray(offsets)
        self.digests = [pack.digest for pack in run.packs()]

    def find(self, halves: Longs) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
        """Which of the prefixes are here, and their rows."""
        rows = np.searchsorted(self._high, halves[:, 0])
        rows[rows == len(self._high)] = 0
        hits = np.flatnonzero((self._high[rows] == halves[:, 0]) & (self._low[rows] == halves[:, 1]))
        return hits, rows[hits]
