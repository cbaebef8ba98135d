"""Finding damage, and naming what it touches.

Without reading content: that every object can be parsed, every restore point's chain
holds, and every blob that is needed lies in a pack of the right size. With content: that
each pack's bytes are what its name says, and, with a private key, that each blob is what
its id says.
"""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from backstay.domain.entry import Entry
from backstay.domain.errors import BackstayError, DamagedObject, UnsupportedVersion
from backstay.repository.blob_reader import BlobReader
from backstay.repository.index import Index
from backstay.repository.layout import MANIFESTS, PACKS, digest_of, object_name, pack_name
from backstay.repository.manifest import RestorePoint, read_expiries
from backstay.repository.pack import PREFIX
from backstay.repository.pack_check import PackCheck, check_pack
from backstay.repository.reachability import Marks, References, roots_of
from backstay.repository.repository import Repository
from backstay.repository.tombstone import DAMAGED, Tombstone, put_tombstone, read_tombstones
from backstay.repository.tree import PageRow, decode_page

_MOST_FILES = 10_000
_AT_ONCE = 3


@dataclass(frozen=True)
class TouchedFile:
    """A file, or a folder with everything below it, that cannot be restored as it was."""

    point: RestorePoint
    path: bytes
    is_folder: bool


@dataclass
class VerifyOutcome:
    """What was looked at, and what is wrong.

    Attributes:
        damages: damaged or missing objects.
        points: restore points that are touched.
        files: what is touched in them, as far as a private key is at hand to tell.
        more_files: whether there are more than `files` names.
        packs, pack_bytes: packs whose bytes were read.
        blobs: blobs that restore points need.
        condemned_packs: damaged packs that the next backup will not rely upon, so that it heals what it can.
        notes: what else is worth telling.
    """

    damages: list[DamagedObject] = field(default_factory=list)
    points: list[RestorePoint] = field(default_factory=list)
    files: list[TouchedFile] = field(default_factory=list)
    more_files: bool = False
    packs: int = 0
    pack_bytes: int = 0
    blobs: int = 0
    condemned_packs: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def intact(self) -> bool:
        """Whether nothing is wrong."""
        return not self.damages


def run_verify(
    repository: Repository,
    *,
    data_percent: float = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
    seed: int | None = None,
) -> VerifyOutcome:
    """Look for damage.

    Damaged packs are tombstoned, so that later backups store their blobs afresh.

    Args:
        data_percent: share of the packs whose bytes are read, chosen anew each time.
        progress: told the bytes read so far, and the bytes to read.
        seed: for a repeatable choice.

    Raises:
        StorageError: the storage does not answer; says nothing about damage.
    """
    return _Verify(repository, data_percent, progress, random.Random(seed)).run()


class _Verify:
    def __init__(
        self,
        repository: Repository,
        data_percent: float,
        progress: Callable[[int, int], None],
        chance: random.Random,
    ) -> None:
        self._repository = repository
        self._storage = repository.storage
        self._catalogue_key = repository.secrets.catalogue_key
        self._data_percent = data_percent
        self._progress = progress
        self._chance = chance
        self._outcome = VerifyOutcome()
        self._unusable: set[bytes] = set()
        self._damaged: set[bytes] = set()
        self._bad_blobs: set[bytes] = set()

    def run(self) -> VerifyOutcome:
        """Everything, cheap checks first."""
        outcome = self._outcome
        before = len(self._repository.damaged)
        points = self._repository.points()
        index = self._repository.load_index()
        outcome.damages += self._repository.damaged[before:]
        reader = self._repository.reader_of(index)
        self._check_chains(points)
        present = {
            digest: info.size for info in self._storage.list(PACKS) if (digest := digest_of(info.name))
        }
        self._check_sizes(index, present)
        self._check_data(index, reader)
        references = References.load(self._storage, index, self._catalogue_key)
        for error in references.damaged:
            self._note_pack(error, unusable=True)
        marks = Marks(index.runs, index.condemned, present.keys() - self._unusable)
        marks.mark(self._counted(references.from_roots(roots_of(points))))
        lost = marks.missing | {blob[:PREFIX] for blob in self._bad_blobs if not _readable(reader, blob)}
        self._name_touched(points, references, lost, reader)
        self._condemn(index)
        return outcome

    def _counted(self, prefixes: Iterator[bytes]) -> Iterator[bytes]:
        for prefix in prefixes:
            self._outcome.blobs += 1
            yield prefix

    def _note_pack(self, error: DamagedObject, *, unusable: bool) -> None:
        digest = digest_of(error.name)
        if digest is None or digest in self._damaged:
            return
        self._outcome.damages.append(error)
        self._damaged.add(digest)
        if unusable:
            self._unusable.add(digest)

    def _check_chains(self, points: list[RestorePoint]) -> None:
        known = {point.id for point in points}
        try:
            for expiry in read_expiries(self._storage, self._catalogue_key):
                known.update(point.id for point in expiry.points)
        except DamagedObject as error:
            self._outcome.damages.append(error)
            return
        for point in points:
            previous = point.manifest.previous
            if previous and previous not in known:
                name = object_name(MANIFESTS, previous)
                if all(damage.name != name for damage in self._outcome.damages):
                    self._outcome.damages.append(
                        DamagedObject(name, f"it is missing, and restore point {point.short_id} follows it")
                    )

    def _check_sizes(self, index: Index, present: dict[bytes, int]) -> None:
        for pack in index.packs().values():
            name = pack_name(pack.digest)
            if pack.digest not in present:
                self._note_pack(DamagedObject(name, "it is missing"), unusable=True)
            elif present[pack.digest] != pack.size:
                why = f"it has {present[pack.digest]} bytes instead of {pack.size}"
                self._note_pack(DamagedObject(name, why), unusable=True)

    def _check_data(self, index: Index, reader: BlobReader) -> None:
        packs = [pack for pack in index.packs().values() if pack.digest not in self._unusable]
        packs.sort(key=lambda pack: pack.digest)
        count = round(len(packs) * min(100.0, self._data_percent) / 100)
        if self._data_percent > 0:
            count = max(1, count)
        chosen = self._chance.sample(packs, min(count, len(packs)))
        total, done = sum(pack.size for pack in chosen), 0
        with ThreadPoolExecutor(_AT_ONCE, "verify") as threads:
            at_work: deque[tuple[int, Future[PackCheck]]] = deque()
            for pack in chosen:
                at_work.append((pack.size, threads.submit(check_pack, self._repository, pack.digest, reader)))
                if len(at_work) > _AT_ONCE:
                    done = self._take(at_work, done, total)
            while at_work:
                done = self._take(at_work, done, total)

    def _take(self, at_work: deque[tuple[int, Future[PackCheck]]], done: int, total: int) -> int:
        size, future = at_work.popleft()
        check = future.result()
        if check.error is not None:
            self._note_pack(check.error, unusable=check.unusable)
            self._bad_blobs.update(check.bad_blobs)
        self._outcome.packs += 1
        self._outcome.pack_bytes += size
        self._progress(done + size, total)
        return done + size

    def _name_touched(
        self, points: list[RestorePoint], references: References, lost: set[bytes], reader: BlobReader
    ) -> None:
        if not lost:
            return
        tainted = references.tainted_by(lost)
        for point in points:
            root, details = point.manifest.root, point.manifest.details
            if root[:PREFIX] not in tainted and details[:PREFIX] not in tainted:
                continue
            self._outcome.points.append(point)
            if not self._outcome.damages:
                name = f"restore point {point.short_id}"
                self._outcome.damages.append(DamagedObject(name, "blobs that it needs are in no pack"))
            if root[:PREFIX] in tainted and self._repository.secrets.can_read:
                self._walk(point, root, tainted, reader)
        if not self._repository.secrets.can_read:
            self._outcome.notes.append("files can be named only with a passphrase or the recovery key")

    def _walk(self, point: RestorePoint, root: bytes, tainted: set[bytes], reader: BlobReader) -> None:
        """Name the touched files of a restore point; pages that are not tainted are not opened."""
        waiting = [(root, b"")]
        while waiting:
            page, path = waiting.pop()
            try:
                rows = decode_page(reader.read(page), page)
            except (DamagedObject, UnsupportedVersion):
                self._touch(point, path or b"/", True)
                continue
            below = [
                (row.page, path + b"/" + row.name if isinstance(row, Entry) else path)
                for row in rows
                if row.page is not None and row.page[:PREFIX] in tainted
            ]
            # The last in comes out first, so the names come in order.
            waiting += reversed(below)
            self._touch_files(point, path, rows, tainted)

    def _touch_files(
        self, point: RestorePoint, path: bytes, rows: Sequence[Entry | PageRow], tainted: set[bytes]
    ) -> None:
        for row in rows:
            if not isinstance(row, Entry):
                continue
            if any(chunk.blob is not None and chunk.blob[:PREFIX] in tainted for chunk in row.chunks or ()):
                self._touch(point, path + b"/" + row.name, False)

    def _touch(self, point: RestorePoint, path: bytes, is_folder: bool) -> None:
        if len(self._outcome.files) < _MOST_FILES:
            self._outcome.files.append(TouchedFile(point, path, is_folder))
        else:
            self._outcome.more_files = True

    def _condemn(self, index: Index) -> None:
        """Tell later backups not to rely on damaged packs; each is told once."""
        told = {
            pack
            for stored in read_tombstones(self._storage, self._catalogue_key, [])
            if stored.tombstone.reason == DAMAGED
            for pack in stored.tombstone.packs
        }
        new = sorted(self._damaged - told)
        if new:
            put_tombstone(self._storage, self._catalogue_key, Tombstone(1, DAMAGED, new, time.time_ns()))
        self._outcome.condemned_packs = len(self._damaged)


def _readable(reader: BlobReader, blob: bytes) -> bool:
    try:
        reader.read(blob)
    except BackstayError:
        return False
    return True
