"""Turns: what one server process does for all of them, no more often than it has to be done.

Nobody is the leader: whoever comes first when it is due takes the turn, in a transaction.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from backstay.server.tables import Turn


def take(
    db: Session, name: str, *, every: timedelta | Callable[[dict[str, Any]], timedelta], now: datetime
) -> tuple[Turn, datetime | None] | None:
    """Take the turn, if it is due and no other process is taking it at this moment.

    Args:
        every: how long after it was taken it is due again; may depend on what is remembered.

    Returns:
        The row, locked until the transaction ends, and when it was taken before; or None.
    """
    row = _locked(db, name)
    if row is not None:
        before = row.taken_at
        pause = every if isinstance(every, timedelta) else every(row.memory)
        if before <= now < before + pause:
            return None
        row.taken_at = now
        return row, before
    if db.get(Turn, name) is not None:
        return None
    row = Turn(name=name, taken_at=now, memory={})
    try:
        with db.begin_nested():
            db.add(row)
    except IntegrityError:
        return None
    return row, None


def still_held(db: Session, turn: Turn) -> Turn | None:
    """The turn, locked anew in a later transaction; None where another process has taken it since."""
    row = _locked(db, turn.name)
    return row if row is not None and row.taken_at == turn.taken_at else None


def _locked(db: Session, name: str) -> Turn | None:
    return db.scalars(select(Turn).where(Turn.name == name).with_for_update(skip_locked=True)).first()
