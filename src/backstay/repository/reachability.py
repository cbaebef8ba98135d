"""Which blobs the restore points need, found from trailers alone: no page is opened, no private key used.

Metadata blobs list in their pack's trailer the blobs that they refer to. What holds for
each index entry is kept in one byte of a mapped column's shadow, so a walk over tens of
millions of blobs needs little more memory than the list of metadata blobs.
"""

from collections.abc import Container, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from backstay.domain.errors import DamagedObject, ObjectNotFound
from backstay.repository.index import Index, PackRecord, Run
from backstay.repository.index_merge import run_columns
from backstay.repository.layout import pack_name
from backstay.repository.manifest import RestorePoint
from backstay.repository.pack import PREFIX, BlobKind, read_trailer
from backstay.repository.prune_plan import PackUse
from backstay.storage.interface import Storage

_METADATA = sum(1 << kind for kind in BlobKind if kind != BlobKind.DATA)
_BATCH = 1 << 18

Flags = npt.NDArray[np.bool_]


class References:
    """What each metadata blob refers to, by id prefix.

    Attributes:
        damaged: metadata packs that could not be read.
    """

    def __init__(self) -> None:
        self._references: dict[bytes, bytes] = {}
        self.damaged: list[DamagedObject] = []

    @classmethod
    def load(cls, storage: Storage, index: Index, catalogue_key: bytes) -> "References":
        """Read the trailers of all packs that hold metadata. Raises StorageError."""
        loaded = cls()
        for pack in index.packs().values():
            if not pack.kinds & _METADATA:
                continue
            name = pack_name(pack.digest)
            try:
                trailer = read_trailer(storage, name, catalogue_key, pack.size)
            except ObjectNotFound:
                loaded.damaged.append(DamagedObject(name, "it is missing"))
                continue
            except DamagedObject as error:
                loaded.damaged.append(error)
                continue
            for blob in trailer.blobs():
                if blob.kind != BlobKind.DATA:
                    loaded._add(blob.id[:PREFIX], blob.references)
        return loaded

    def _add(self, prefix: bytes, references: bytes) -> None:
        known = self._references.get(prefix)
        if known is not None and known != references:
            # One id has one content and refers to the same: one of the two lies, so both are followed.
            references = known + references
        self._references[prefix] = references

    def __contains__(self, prefix: bytes) -> bool:
        return prefix in self._references

    def of(self, prefix: bytes) -> Iterator[bytes]:
        """Prefixes of the blobs that a metadata blob refers to."""
        joined = self._references.get(prefix, b"")
        for at in range(0, len(joined), PREFIX):
            yield joined[at : at + PREFIX]

    def from_roots(self, roots: Iterable[bytes]) -> Iterator[bytes]:
        """Prefixes of all blobs reachable from metadata blobs; a data blob may come several times."""
        seen: set[bytes] = set()
        waiting = [root[:PREFIX] for root in roots]
        while waiting:
            prefix = waiting.pop()
            if prefix in seen:
                continue
            if prefix not in self._references:
                yield prefix
                continue
            seen.add(prefix)
            yield prefix
            waiting += self.of(prefix)

    def tainted_by(self, bad: set[bytes]) -> set[bytes]:
        """The metadata blobs below which one of `bad` lies, and `bad` themselves."""
        above: dict[bytes, list[bytes]] = {}
        for prefix in self._references:
            for reference in self.of(prefix):
                if reference in bad or reference in self._references:
                    above.setdefault(reference, []).append(prefix)
        tainted, waiting = set(bad), list(bad)
        while waiting:
            for parent in above.get(waiting.pop(), ()):
                if parent not in tainted:
                    tainted.add(parent)
                    waiting.append(parent)
        return tainted


class MarkedRun(NamedTuple):
    """An index run's columns, its packs, and for each entry whether it is needed, or lies in a bad pack."""

    columns: list[npt.NDArray[Any]]
    packs: list[PackRecord]
    needed: Flags
    doubtful: Flags
    absent: Flags


class Marks:
    """For each index entry whether a restore point needs it.

    Of a blob that lies in several places one is marked: in a pack that is neither
    condemned nor missing, if there is one.

    Args:
        condemned: packs that are tombstoned.
        present: packs that the storage has.

    Attributes:
        missing: prefixes that are needed and lie in no pack that is there.
    """

    def __init__(self, runs: list[Run], condemned: Container[bytes], present: Container[bytes]) -> None:
        self.runs: list[MarkedRun] = []
        for run in runs:
            columns, packs = run_columns(run), list(run.packs())
            of_entry = columns[2]
            doubtful = np.array([pack.digest in condemned for pack in packs], bool)
            absent = np.array([pack.digest not in present for pack in packs], bool)
            self.runs.append(
                MarkedRun(
                    columns,
                    packs,
                    np.zeros(run.entries, bool),
                    doubtful[of_entry] if packs else np.zeros(0, bool),
                    absent[of_entry] if packs else np.zeros(0, bool),
                )
            )
        self.missing: set[bytes] = set()

    def mark(self, prefixes: Iterator[bytes]) -> None:
        """Mark a place of each of these blobs."""
        batch: list[bytes] = []
        for prefix in prefixes:
            batch.append(prefix)
            if len(batch) >= _BATCH:
                self._mark(batch)
                batch = []
        if batch:
            self._mark(batch)

    def _mark(self, batch: list[bytes]) -> None:
        keys = np.frombuffer(b"".join(batch), dtype=">u8").astype(np.uint64).reshape(-1, 2)
        keys = np.unique(keys, axis=0)
        for doubtful in (False, True):
            for marked in self.runs:
                found = np.zeros(len(keys), bool)
                for which, rows in rows_of(marked.columns, keys):
                    fit = (marked.doubtful[rows] == doubtful) & ~marked.absent[rows] & ~found[which]
                    marked.needed[rows[fit]] = True
                    found[which[fit]] = True
                keys = keys[~found]
        for high, low in keys.tolist():
            self.missing.add(int(high).to_bytes(8, "big") + int(low).to_bytes(8, "big"))

    def uses(self) -> dict[bytes, PackUse]:
        """How much of each pack is needed, by digest; packs that the storage does not have are left out."""
        uses: dict[bytes, PackUse] = {}
        for marked in self.runs:
            count = len(marked.packs)
            lengths = marked.columns[5].astype(np.float64)
            total = np.bincount(marked.columns[2], weights=lengths, minlength=count)
            needed = np.bincount(marked.columns[2], weights=lengths * marked.needed, minlength=count)
            for number, pack in enumerate(marked.packs):
                before = uses.get(pack.digest, PackUse(pack.size, 0, 0))
                uses[pack.digest] = PackUse(
                    pack.size,
                    before.needed + int(needed[number]),
                    before.total + int(total[number]),
                    bool(pack.kinds & _METADATA),
                )
        return uses

    def needed_prefixes(self, packs: Container[bytes]) -> set[tuple[bytes, bytes]]:
        """Digest and prefix of every needed blob that lies in one of these packs."""
        found: set[tuple[bytes, bytes]] = set()
        for marked in self.runs:
            chosen = np.array([pack.digest in packs for pack in marked.packs], bool)
            if not chosen.any():
                continue
            rows = np.flatnonzero(chosen[marked.columns[2]] & marked.needed)
            for high, low, pack in zip(*(marked.columns[c][rows].tolist() for c in range(3)), strict=True):
                prefix = high.to_bytes(8, "big") + low.to_bytes(8, "big")
                found.add((marked.packs[pack].digest, prefix))
        return found


def rows_of(
    columns: list[npt.NDArray[Any]], keys: npt.NDArray[np.uint64]
) -> Iterator[tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]]:
    """Rows of a run that hold the given keys (pairs of prefix numbers): numbers of keys and rows, in step."""
    high, low = columns[0], columns[1]
    if not len(high):
        return
    rows = np.searchsorted(high, keys[:, 0])
    which = np.arange(len(keys))
    while len(which):
        inside = rows < len(high)
        rows, which = rows[inside], which[inside]
        same = high[rows] == keys[which, 0]
        rows, which = rows[same], which[same]
        hit = low[rows] == keys[which, 1]
        yield which[hit], rows[hit]
        rows = rows + 1


def roots_of(points: Iterable[RestorePoint]) -> Iterator[bytes]:
    """The metadata blobs from which everything that the restore points need can be reached."""
    for point in points:
        yield point.manifest.root
        yield point.manifest.details
