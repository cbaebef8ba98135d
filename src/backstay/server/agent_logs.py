"""The last lines of each agent's log, as agents tell them with *lease*."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from backstay.protocol.ticket import LogLine
from backstay.server.tables import AgentLogLine, FileServer

MOST_KEPT = 500
_LONGEST = 1000


def keep(db: Session, server: FileServer, lines: Sequence[LogLine], now: datetime) -> None:
    """Add what an agent tells; the oldest lines beyond MOST_KEPT go. Nothing is written for nothing.

    Times are put right by the offset of the agent's clock; one in the future becomes now.
    """
    if not lines:
        return
    ahead = timedelta(seconds=server.clock_offset)
    db.add_all(
        AgentLogLine(
            file_server_id=server.id,
            at=_time_of(line, ahead, now),
            level=line.level,
            text=line.text[:_LONGEST],
        )
        for line in lines
    )
    db.flush()
    own = AgentLogLine.file_server_id == server.id
    last = select(AgentLogLine.id).where(own).order_by(AgentLogLine.id.desc()).offset(MOST_KEPT).limit(1)
    if (too_old := db.scalar(last)) is not None:
        db.execute(delete(AgentLogLine).where(own, AgentLogLine.id <= too_old))


def _time_of(line: LogLine, ahead: timedelta, now: datetime) -> datetime:
    try:
        return min(datetime.fromtimestamp(line.at_ns / 1e9, UTC) - ahead, now)
    except (OverflowError, ValueError, OSError):
        return now


def lines_of(db: Session, file_server_id: int, most: int = MOST_KEPT) -> Sequence[AgentLogLine]:
    """The last lines that are known of a file server's agent, the newest first."""
    return db.scalars(
        select(AgentLogLine)
        .where(AgentLogLine.file_server_id == file_server_id)
        .order_by(AgentLogLine.id.desc())
        .limit(most)
    ).all()
