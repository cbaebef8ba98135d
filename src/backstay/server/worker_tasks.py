"""What worker processes do: one function for each task, from its request to its result."""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from backstay.domain.errors import DamagedObject, UsageError
from backstay.repository.layout import digest_of
from backstay.repository.manifest import RestorePoint
from backstay.repository.pack_check import check_pack
from backstay.repository.prune import GRACE_SECONDS, run_prune
from backstay.repository.tombstone import DAMAGED, Tombstone, put_tombstone, read_tombstones
from backstay.repository.verify import run_verify
from backstay.server.worker import Work

_MOST_NAMED = 10_000


def verify(work: Work) -> dict[str, Any]:
    """Request: `data_percent`. Asks nothing."""
    work.progress("look")
    outcome = run_verify(
        work.repository,
        data_percent=work.request.get("data_percent", 0.0),
        progress=lambda done, total: work.progress("read", done, total),
    )
    packs = {digest.hex() for damage in outcome.damages if (digest := digest_of(damage.name))}
    return {
        "damages": [[damage.name, damage.why] for damage in outcome.damages[:_MOST_NAMED]],
        "damage_count": len(outcome.damages),
        "damaged_packs": sorted(packs),
        "points": [point.id.hex() for point in outcome.points],
        "files": [[file.point.id.hex(), file.path, file.is_folder] for file in outcome.files],
        "more_files": outcome.more_files,
        "packs": outcome.packs,
        "pack_bytes": outcome.pack_bytes,
        "blobs": outcome.blobs,
        "condemned_packs": outcome.condemned_packs,
        "notes": outcome.notes,
        "present": [point.id.hex() for point in work.repository.points()],
    }


def prune(work: Work) -> dict[str, Any]:
    """Request: `grace_seconds`, `dry_run`. Asks `expire`: which of these points are to be taken out."""
    dry_run = bool(work.request.get("dry_run"))

    def expire(points: list[RestorePoint]) -> Sequence[RestorePoint]:
        chosen = set(work.ask("expire", [point.id.hex() for point in points]))
        return [point for point in points if point.id.hex() in chosen]

    work.progress("plan")
    outcome = run_prune(
        work.repository,
        expire,
        grace_seconds=work.request.get("grace_seconds", GRACE_SECONDS),
        dry_run=dry_run,
        tell=work.tell,
    )
    plan = outcome.plan
    return {
        "dry_run": dry_run,
        "expired": [point.id.hex() for point in outcome.expired],
        "condemned_packs": len(plan.condemn) if plan else 0,
        "rewritten_packs": len(plan.rewrite) if plan else 0,
        "kept_packs": len(plan.keep) + len(plan.spared) if plan else 0,
        "freed_bytes": plan.freed_bytes if plan else 0,
        "unused_bytes": plan.unused_bytes if plan else 0,
        "moved_bytes": outcome.moved_bytes,
        "deleted_packs": outcome.deleted_packs,
        "deleted_bytes": outcome.deleted_bytes,
        "waiting_packs": outcome.waiting_packs,
        "notes": outcome.notes,
        "present": [point.id.hex() for point in work.repository.points()],
    }


def drill(work: Work) -> dict[str, Any]:
    """Request: `points` (ids), `files` of each."""
    from backstay.repository.drill import run_drill

    wanted = set(work.request["points"])
    work.progress("read")
    points = [point for point in work.repository.points() if point.id.hex() in wanted]
    outcome = run_drill(
        work.repository,
        points,
        files=work.request.get("files", 50),
        progress=lambda done: work.progress("read", done),
    )
    return {
        "points": outcome.points,
        "missing_points": sorted(wanted - {point.id.hex() for point in points}),
        "files": outcome.files,
        "bytes": outcome.bytes,
        "failures": [[one.point.id.hex(), one.path, one.reason] for one in outcome.failures[:_MOST_NAMED]],
        "failure_count": len(outcome.failures),
    }


def check_packs(work: Work) -> dict[str, Any]:
    """Asks `packs` for digests to check, with what was found of the last ones, until there are no more."""
    if not work.repository.secrets.can_read:
        raise UsageError("packs are checked only with a private key", hint="let the server have it")
    reader = work.repository.reader()
    found: list[list[Any]] = []
    checked = 0
    while digests := work.ask("packs", found):
        found = []
        bad: list[bytes] = []
        for text in digests:
            digest = bytes.fromhex(text)
            check = check_pack(work.repository, digest, reader)
            why = check.error.why if check.error is not None else ""
            if check.error is not None and not check.missing:
                bad.append(digest)
            found.append([text, why, check.missing])
            checked += 1
        _condemn(work, bad)
    return {"checked": checked}


def _condemn(work: Work, packs: list[bytes]) -> None:
    """Have later backups store the blobs of these packs anew; each pack is condemned once."""
    storage, key = work.repository.storage, work.repository.secrets.catalogue_key
    told = {
        pack
        for stored in (read_tombstones(storage, key, []) if packs else [])
        if stored.tombstone.reason == DAMAGED
        for pack in stored.tombstone.packs
    }
    new = sorted(set(packs) - told)
    if new:
        put_tombstone(storage, key, Tombstone(1, DAMAGED, new, time.time_ns()))


def names(work: Work) -> dict[str, Any]:
    """Request: `folder`, `points` (id, id of the newer one or None, file to write).

    Tells the files that cannot be made.
    """
    from backstay.repository.blob_source import BlobSource
    from backstay.repository.name_index import write_name_index

    points = {point.id.hex(): point for point in work.repository.points()}
    read = BlobSource(work.repository).read
    made = 0
    for point_id, newer, file in work.request["points"]:
        work.check()
        try:
            if point_id not in points or (newer is not None and newer not in points):
                raise DamagedObject(f"restore point {point_id[:10]}", "its manifest is missing")
            target = Path(work.request["folder"], file)
            write_name_index(target, points[point_id], points[newer] if newer is not None else None, read)
            made += 1
        except DamagedObject:
            work.tell(file)
    return {"made": made}


TASKS: Final[Mapping[str, Callable[[Work], dict[str, Any]]]] = {
    "verify": verify,
    "prune": prune,
    "drill": drill,
    "check_packs": check_packs,
    "names": names,
}
