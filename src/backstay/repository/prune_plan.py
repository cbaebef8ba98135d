"""What garbage collection would do: pure, reviewable, apart from its execution."""

from collections.abc import Mapping
from dataclasses import dataclass

MOST_UNUSED = 0.05
"""So much of the repository may stay unused; rewriting for less costs more than it gives."""

WORTH_REWRITING = 0.5
"""A pack of which less than this is needed is rewritten in any case."""

SMALL_PACK = 8 << 20
"""Packs smaller than this are joined when there are many."""

MANY_SMALL_PACKS = 16


@dataclass(frozen=True)
class PackUse:
    """How much of a pack is needed: raw bytes of blobs needed, and of all; its size as stored."""

    size: int
    needed: int
    total: int
    metadata: bool = False

    @property
    def unused_bytes(self) -> int:
        """Stored bytes that nothing needs, estimated from the share of raw bytes."""
        return round(self.size * (1 - self.needed / self.total)) if self.total else self.size


@dataclass(frozen=True)
class PrunePlan:
    """What to do with each pack, by digest.

    Attributes:
        keep: stays as it is.
        rewrite: what is needed of it goes into new packs; then it is condemned.
        condemn: nothing needs it.
        spared: nothing needs it yet, but a session that is still writing does.
        freed_bytes: what the storage gets back when the grace period is over.
        unused_bytes: what stays unused in the packs that are kept.
    """

    keep: frozenset[bytes]
    rewrite: frozenset[bytes]
    condemn: frozenset[bytes]
    spared: frozenset[bytes]
    freed_bytes: int
    unused_bytes: int


def plan_prune(
    packs: Mapping[bytes, PackUse],
    spared: frozenset[bytes] = frozenset(),
    *,
    most_unused: float = MOST_UNUSED,
) -> PrunePlan:
    """Decide for each pack.

    Args:
        packs: all packs that are not condemned yet.
        spared: packs of sessions that are still writing; they are left alone.
        most_unused: share of the kept bytes that may stay unused.
    """
    condemn = {pack for pack, use in packs.items() if not use.needed} - spared
    partly = {pack: use for pack, use in packs.items() if 0 < use.needed < use.total and pack not in spared}
    rewrite = {pack for pack, use in partly.items() if use.needed < WORTH_REWRITING * use.total}
    kept_bytes = sum(use.size - use.unused_bytes for pack, use in packs.items() if pack not in condemn)
    unused = sum(use.unused_bytes for pack, use in partly.items() if pack not in rewrite)
    for pack, use in sorted(partly.items(), key=lambda item: (-item[1].unused_bytes, item[0])):
        if unused <= most_unused * kept_bytes:
            break
        if pack not in rewrite:
            rewrite.add(pack)
            unused -= use.unused_bytes
    for metadata in (False, True):
        small = [
            pack
            for pack, use in packs.items()
            if use.needed and use.size < SMALL_PACK and use.metadata == metadata and pack not in spared
        ]
        if len(small) >= MANY_SMALL_PACKS:
            rewrite.update(small)
    freed = sum(packs[pack].size for pack in condemn) + sum(packs[pack].unused_bytes for pack in rewrite)
    keep = frozenset(packs) - rewrite - condemn
    left = sum(packs[pack].unused_bytes for pack in keep - spared)
    return PrunePlan(keep - spared, frozenset(rewrite), frozenset(condemn), keep & spared, freed, left)
