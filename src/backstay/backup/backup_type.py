"""Step 2: full or incremental, and how far the scan state can be trusted."""

import hashlib
from dataclasses import dataclass

from backstay.backup.scan_state import ScanState
from backstay.repository.layout import MAINTENANCE
from backstay.repository.manifest import RestorePoint
from backstay.repository.repository import Repository
from backstay.repository.tombstone import DAMAGED, read_tombstones

FULL = "full"
INCREMENTAL = "incremental"


@dataclass(frozen=True)
class BackupType:
    """What was decided.

    Attributes:
        type: "full" for a set's first restore point, else "incremental".
        parent: the latest restore point of the set, or None.
        trusted: whether pages of the scan state are in the repository with all below them,
            so that an unchanged folder needs no look at its entries.
        collections, damages: fingerprints to keep in the scan state.
        reason: in words.
    """

    type: str
    parent: RestorePoint | None
    trusted: bool
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
    base_there = not facts.base or any(point.id == facts.base for point in points)
    same_damages = facts.damages == damages
    same_collections = not facts.open_sessions or facts.collections == collections
    trusted = base_there and same_damages and same_collections
    if parent is None:
        return BackupType(
            FULL, None, trusted, collections, damages, "there is no restore point of this set yet"
        )
    reason = f"restore point {parent.short_id} is the latest of this set"
    if not trusted:
        why = (
            "its restore point has expired" if not base_there else "stored objects were collected or damaged"
        )
        reason += f"; what is remembered of the last scan is checked blob by blob, as {why}"
    return BackupType(INCREMENTAL, parent, trusted, collections, damages, reason)


def collection_fingerprints(repository: Repository) -> tuple[bytes, bytes]:
    """What changes whenever garbage is collected, and whenever damage becomes known."""
    stones = read_tombstones(repository.storage, repository.secrets.catalogue_key)
    marks = sorted(info.name for info in repository.storage.list(MAINTENANCE))
    names = sorted(stone.name for stone in stones)
    damaged = sorted(stone.name for stone in stones if stone.tombstone.reason == DAMAGED)
    return _fingerprint(marks + names), _fingerprint(damaged)


def _fingerprint(names: list[str]) -> bytes:
    return hashlib.blake2b("\n".join(names).encode(), digest_size=16).digest() if names else b""
