"""Making index and manifests anew from packs alone."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import msgspec

from backstay.domain.errors import BackstayError, DamagedObject, ObjectNotFound
from backstay.repository.details import read_details
from backstay.repository.index import RUN_ENTRIES, Index, RunBuilder
from backstay.repository.index_store import put_run
from backstay.repository.layout import EXPIRIES, INDEX, MANIFESTS, PACKS, digest_of, object_name
from backstay.repository.manifest import (
    ExpiredPoint,
    Expiry,
    Manifest,
    RestorePoint,
    encode_expiry,
    encode_manifest,
    read_expiries,
)
from backstay.repository.pack import BlobKind, BlobRecord, Trailer, read_trailer
from backstay.repository.reachability import Marks, References
from backstay.repository.repository import Repository
from backstay.repository.session import (
    ABANDONED,
    COLLECTOR,
    SessionMarker,
    list_sessions,
    refuse_second_collector,
)
from backstay.repository.tombstone import DAMAGED, Tombstone, put_tombstone, read_tombstones

_AT_ONCE = 8


@dataclass
class RebuildOutcome:
    """What was made.

    Attributes:
        packs, blobs: what the new index names.
        points: restore points whose lost manifests were made anew.
        damages: packs that could not be read, and damaged manifests that were replaced.
        notes: what else is worth telling.
    """

    packs: int = 0
    blobs: int = 0
    points: list[RestorePoint] = field(default_factory=list)
    damages: list[DamagedObject] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def run_rebuild(
    repository: Repository, progress: Callable[[int, int], None] = lambda done, total: None
) -> RebuildOutcome:
    """Write a new index from the trailers of all packs, and manifests for details that have none.

    The old index goes only when the new one is durable. Needs the catalogue key; lost
    manifests can be made anew only with a private key.

    Args:
        progress: told the packs read so far, and all.

    Raises:
        AlreadyRunning: another rebuild or a prune is under way.
        StorageError.
    """
    storage, key = repository.storage, repository.secrets.catalogue_key
    marker = SessionMarker(storage, key, kind=COLLECTOR, backup_set="", now_ns=time.time_ns())
    try:
        others = list_sessions(storage)
        del others[marker.id]
        refuse_second_collector(storage, key, others)
        return _rebuild(repository, progress)
    finally:
        marker.end(ABANDONED)


def _rebuild(repository: Repository, progress: Callable[[int, int], None]) -> RebuildOutcome:
    outcome = RebuildOutcome()
    storage, key = repository.storage, repository.secrets.catalogue_key
    old = [info.name for info in storage.list(INDEX)]
    named = set(repository.load_index().packs())
    packs = [(digest, info) for info in storage.list(PACKS) if (digest := digest_of(info.name))]
    lost = named - {digest for digest, _ in packs}
    details: list[BlobRecord] = []
    builder, new = RunBuilder(), set[str]()

    def read(name: str, size: int) -> Trailer | DamagedObject:
        try:
            return read_trailer(storage, name, key, size)
        except ObjectNotFound:
            return DamagedObject(name, "it vanished meanwhile")
        except DamagedObject as error:
            return error

    with ThreadPoolExecutor(_AT_ONCE, "rebuild") as threads:
        trailers = threads.map(lambda pack: read(pack[1].name, pack[1].size), packs)
        for done, ((digest, info), trailer) in enumerate(zip(packs, trailers, strict=True), 1):
            progress(done, len(packs))
            if isinstance(trailer, DamagedObject):
                outcome.damages.append(trailer)
                lost.add(digest)
                continue
            # Whoever put it may have died before the sync, and the index must not outlive it.
            storage.secure(info.name)
            builder.add_pack(digest, info.size, trailer)
            outcome.packs += 1
            details += [blob for blob in trailer.blobs() if blob.kind == BlobKind.DETAILS]
            if len(builder) >= RUN_ENTRIES:
                new.add(object_name(INDEX, put_run(storage, key, builder.encode())))
                outcome.blobs += len(builder)
                builder = RunBuilder()
    if len(builder):
        outcome.blobs += len(builder)
        new.add(object_name(INDEX, put_run(storage, key, builder.encode())))
    storage.sync()
    # Also where nothing is known to be lost: from here on no backup believes what it remembers unseen.
    put_tombstone(storage, key, Tombstone(1, DAMAGED, sorted(lost), time.time_ns()))
    for name in old:
        if name not in new:
            storage.delete(name)
    unreadable: list[DamagedObject] = []
    read_tombstones(storage, key, unreadable)
    for error in unreadable:
        # Whatever it condemned counts as sound again, until it is found unused or damaged anew.
        outcome.damages.append(error)
        storage.delete(error.name)
    storage.sync()
    _restore_manifests(repository, details, outcome, is_damaged=bool(lost))
    return outcome


def _restore_manifests(
    repository: Repository, details: list[BlobRecord], outcome: RebuildOutcome, *, is_damaged: bool
) -> None:
    before = len(repository.damaged)
    points = repository.points()
    damaged = repository.damaged[before:]
    outcome.damages += damaged
    if not repository.secrets.can_read:
        outcome.notes.append("lost manifests can be made anew only with a passphrase or the recovery key")
        return
    storage, key = repository.storage, repository.secrets.catalogue_key
    known = {point.manifest.details for point in points}
    taken = {_place(point.manifest) for point in points}
    known_points: set[bytes] = set()
    try:
        for expiry in read_expiries(storage, key):
            known.update(point.details for point in expiry.points)
            known_points.update(point.id for point in expiry.points)
            taken.update(_place(point) for point in expiry.points)
    except DamagedObject as error:
        outcome.damages.append(error)
        outcome.notes.append(
            "no lost manifest was made anew, as it is not known which points were taken out on purpose"
        )
        return
    index: Index = repository.load_index()
    reader = repository.reader_of(index)
    candidates: dict[tuple[str, str, int], tuple[int, int, Manifest]] = {}
    for blob in {blob.id: blob for blob in details}.values():
        if blob.id in known:
            continue
        try:
            found = read_details(blob.id, reader.read)
        except BackstayError:
            # Lists of problems are details, too; they hold no manifest.
            continue
        if index.locate(found.manifest.root) is None:
            outcome.notes.append("a restore point was left out, as the page of its root is in no pack")
            continue
        manifest = msgspec.structs.replace(found.manifest, details=blob.id)
        place = _place(manifest)
        candidate = (-_missing_blobs(repository, index, manifest), manifest.time_ns, manifest)
        # A backup that was interrupted before its commit leaves details, too. The next one took its place.
        if place not in taken and candidate[:2] > candidates.get(place, (float("-inf"), 0))[:2]:
            candidates[place] = candidate
    for missing, _, manifest in sorted(candidates.values(), key=lambda found: found[1]):
        if missing and not (is_damaged or damaged):
            # Nothing was lost, so what it lacks was collected: it was never committed.
            continue
        sealed, digest = encode_manifest(manifest, key)
        storage.put(object_name(MANIFESTS, digest), [sealed])
        outcome.points.append(RestorePoint(digest, manifest))
    _close_gaps(repository, points + outcome.points, known_points)
    storage.sync()
    for manifest_error in damaged:
        storage.delete(manifest_error.name)
    storage.sync()


def _place(point: Manifest | ExpiredPoint) -> tuple[str, str, int]:
    """Where a restore point belongs: its chain, and its number there."""
    return point.file_server, point.backup_set, point.sequence


def _missing_blobs(repository: Repository, index: Index, manifest: Manifest) -> int:
    """How many blobs of those that a restore point needs are in no pack, as far as its pages tell."""
    references = References.load(repository.storage, index, repository.secrets.catalogue_key)
    marks = Marks(index.runs, frozenset(), index.packs())
    marks.mark(references.from_roots((manifest.root, manifest.details)))
    return len(marks.missing)


def _close_gaps(repository: Repository, points: list[RestorePoint], known: set[bytes]) -> None:
    """Record links of the chains that are gone for good, so that they are not reported as damage for ever."""
    known = known | {point.id for point in points}
    gaps = [
        ExpiredPoint(
            point.manifest.previous,
            b"",
            b"",
            point.manifest.file_server,
            point.manifest.backup_set,
            point.manifest.sequence - 1,
            0,
        )
        for point in points
        if point.manifest.previous and point.manifest.previous not in known
    ]
    if gaps:
        sealed, digest = encode_expiry(Expiry(1, gaps, time.time_ns()), repository.secrets.catalogue_key)
        repository.storage.put(object_name(EXPIRIES, digest), [sealed])
