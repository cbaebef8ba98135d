"""The warning before restore points go: which files' only version goes with them."""

import base64
import binascii
import time
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from backstay.domain.entry import Entry
from backstay.domain.errors import UsageError
from backstay.repository.last_copies import last_copies
from backstay.server import browsing
from backstay.server.control import Control
from backstay.server.retention import SetPlan
from backstay.server.tables import RestorePointRow

_SECONDS = 2.0
"""So long one question is worked at; the answer then says where to go on."""


@dataclass(frozen=True)
class LastCopy:
    """A file version that is in no restore point that stays, and the newest point that has it."""

    point_id: str
    path: bytes
    entry: Entry


@dataclass(frozen=True)
class LastCopies:
    """What was found so far; `next` is given to go on, and None when all was looked at."""

    items: list[LastCopy]
    next: str | None


def going_with(db: Session, row: RestorePointRow) -> tuple[list[str], list[str]]:
    """A point alone, and all others of its set: ids of what would go, and what would stay."""
    others = db.scalars(
        select(RestorePointRow.id)
        .where(
            RestorePointRow.backup_set_id == row.backup_set_id,
            RestorePointRow.expired_at.is_(None),
            RestorePointRow.id != row.id,
        )
        .order_by(RestorePointRow.committed_at)
    ).all()
    return [row.id], list(others)


def going_by(plan: SetPlan) -> tuple[list[str], list[str]]:
    """What would go by a plan, the newest first, and what would stay."""
    return (
        [one.row.id for one in plan.decisions if not one.keep],
        [one.row.id for one in plan.decisions if one.keep],
    )


def find_last_copies(
    control: Control,
    repository_id: str,
    going: Sequence[str],
    staying: Sequence[str],
    *,
    after: str = "",
    limit: int = 200,
    seconds: float = _SECONDS,
) -> LastCopies:
    """Look for versions that are in `going` only. Each is told once, with the newest point that has it.

    Args:
        going: ids of points, the newest first.
        after: as `next` of the answer before.

    Raises:
        UsageError: `after` is none of ours.
        KeyMissing: the server holds no private key of the repository.
        DamagedObject, StorageError.
    """
    first, path = _parse(after, going)
    items: list[LastCopy] = []
    until = time.monotonic() + seconds
    for number in range(first, len(going)):
        point = browsing.open_point(control, repository_id, going[number])
        kept = [browsing.open_point(control, repository_id, one).point for one in (*staying, *going[:number])]
        for looked in last_copies(point.point, kept, point.read, after=path):
            if looked.last is not None:
                items.append(LastCopy(going[number], looked.path, looked.last))
            if len(items) >= limit or time.monotonic() >= until:
                return LastCopies(items, f"{going[number]}:{base64.b64encode(looked.path).decode()}")
        path = b""
    return LastCopies(items, None)


def _parse(after: str, going: Sequence[str]) -> tuple[int, bytes]:
    if not after:
        return 0, b""
    point, _, path = after.partition(":")
    try:
        return list(going).index(point), base64.b64decode(path, validate=True)
    except (ValueError, binascii.Error):
        raise UsageError(
            "this is no place to go on from",
            hint="give `next` of the answer before, or nothing",
        ) from None
