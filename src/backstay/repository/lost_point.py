"""The latest restore point of a set whose manifest is lost: the next one still names it.

So the gap stays in the chain, and `verify` names it, where it would otherwise close over the loss.
"""

from collections.abc import Sequence
from typing import NamedTuple

from backstay.domain.errors import DamagedObject
from backstay.repository.manifest import RestorePoint, read_expiries
from backstay.repository.tombstone import read_tombstones
from backstay.storage.interface import Storage


class Link(NamedTuple):
    """A restore point as the next one of its chain names it: its id, and its number."""

    id: bytes
    sequence: int

    @property
    def short_id(self) -> str:
        """The first digits of its id, for people."""
        return self.id.hex()[:10]


def lost_by_memory(
    storage: Storage,
    catalogue_key: bytes,
    points: Sequence[RestorePoint],
    chain: Sequence[RestorePoint],
    remembered: bytes,
    *,
    as_it_was: bool,
) -> Link | None:
    """The latest restore point as a file server remembers it, where it is gone and nobody let it go.

    Its number is not remembered. The next number but one of those that are there leaves room for it, so
    that a rebuild can make it anew.

    Args:
        points, chain: all restore points that can be read, and those of the set.
        remembered: an id, or empty.
        as_it_was: there was no garbage collection and no rebuild since that was remembered.

    Raises:
        StorageError.
    """
    if not remembered or any(remembered in {one.id, one.manifest.previous} for one in points):
        return None
    try:
        expiries = read_expiries(storage, catalogue_key)
        if any(remembered == point.id for expiry in expiries for point in expiry.points):
            return None
    except DamagedObject:
        # It may have been taken out on purpose; that this is not known any more is for verify to say.
        return None
    latest = max(chain, key=lambda point: point.manifest.sequence, default=None)
    since = latest.manifest.time_ns if latest is not None else 0
    for stone in [] if as_it_was else read_tombstones(storage, catalogue_key, []):
        # A rebuild has made lost manifests anew, under ids of their own, and has told of the others.
        if not stone.tombstone.packs and stone.tombstone.time_ns > since:
            return None
    return Link(remembered, latest.manifest.sequence + 1 if latest is not None else 1)
