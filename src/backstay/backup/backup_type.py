"""Step 2: full or incremental, and how far the scan state can be trusted."""

import hashlib
from dataclasses import dataclass, replace

from backstay.backup.scan_state import ScanState
from backstay.domain.errors import DamagedObject
from backstay.repository.layout import INDEX, MAINTENANCE, digest_of
from backstay.repository.lost_point import Link
from backstay.repository.repository import Repository
from backstay.repository.tombstone import DAMAGED, read_tombstones

FULL = "full"
INCREMENTAL = "incremental"


@dataclass(frozen=True)
class BackupType:
    """What was decided.

    Attributes:
        type: "full" for a set's first restore point, else "incremental".
        latest: the latest restore point of the set, which the next one names, or None.
        is_lost: its manifest is gone or damaged, which nobody meant.
        trusted: whether the scan state's page of the whole tree is in the repository with all below
            it, so that an unchanged folder needs no look at its entries.
        base: restore point that the scan state rests upon from now on; empty where there is none.
        epoch: as in the scan state's facts.
        collections, damages: fingerprints to keep in the scan state.
        reason: in words.
    """

    type: str
    latest: Link | None
    is_lost: bool
    trusted: bool
    base: bytes
    epoch: int
    collections: bytes
    damages: bytes
    reason: str


def decide_type(repository: Repository, state: ScanState, file_server: str, backup_set: str) -> BackupType:
    """Decide, for a writing session that has been registered already. Raises StorageError, DamagedObject."""
    points = repository.points()
    chain = [
        point
        for point in points
        if point.manifest.file_server == file_server and point.manifest.backup_set == backup_set
    ]
    parent = max(chain, key=lambda point: point.manifest.sequence, default=None)
    collections, damages = collection_fingerprints(repository)
    facts = state.facts
    lost = repository.lost_latest(points, chain, facts.base, as_it_was=facts.collections == collections)
    latest = lost or (Link(parent.id, parent.manifest.sequence) if parent is not None else None)
    base = next((point for point in points if point.id == facts.base), None)
    base_there = base is not None or not facts.base
    if facts.damages != damages:
        # What a restore point needs may be damaged, so that it vouches for nothing.
        base = None
    runs = {digest_of(info.name) for info in repository.storage.list(INDEX)}
    # A repository that was put back to an earlier state lacks the runs that have been stored since.
    as_it_was = base_there and facts.collections == collections and runs.issuperset(facts.runs)
    epoch = facts.epoch if as_it_was and facts.damages == damages else facts.epoch + 1
    top = state.whole(b"")
    trusted = top is None or top.epoch == epoch or (base is not None and top.page == base.manifest.root)
    rests_upon = base.id if base else b""
    if lost is not None and lost.id == facts.base:
        # Not forgotten before a restore point that names it has been committed.
        rests_upon = lost.id
    decided = BackupType(FULL, latest, lost is not None, trusted, rests_upon, epoch, collections, damages, "")
    if latest is None:
        return replace(decided, reason="there is no restore point of this set yet")
    reason = f"restore point {latest.short_id} is the latest of this set"
    if not trusted:
        why = "stored objects were collected or damaged" if base_there else "its restore point is gone"
        reason += f"; what is remembered of the last scan is checked blob by blob, as {why}"
    return replace(decided, type=INCREMENTAL, reason=reason)


def collection_fingerprints(repository: Repository) -> tuple[bytes, bytes]:
    """What changes whenever garbage is collected, and whenever damage becomes known."""
    unreadable: list[DamagedObject] = []
    stones = read_tombstones(repository.storage, repository.secrets.catalogue_key, unreadable)
    marks = sorted(info.name for info in repository.storage.list(MAINTENANCE))
    lost = [error.name for error in unreadable]
    names = sorted(lost + [stone.name for stone in stones])
    damaged = sorted(lost + [stone.name for stone in stones if stone.tombstone.reason == DAMAGED])
    return _fingerprint(marks + names), _fingerprint(damaged)


def _fingerprint(names: list[str]) -> bytes:
    return hashlib.blake2b("\n".join(names).encode(), digest_size=16).digest() if names else b""
