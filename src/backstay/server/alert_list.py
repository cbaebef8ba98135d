"""Alerts to look at."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from backstay.server.tables import AlertRow


def active_alerts(db: Session, limit: int = 200) -> list[AlertRow]:
    """Those whose cause is still there, the newest first."""
    query = select(AlertRow).where(AlertRow.resolved_at.is_(None)).order_by(AlertRow.raised_at.desc())
    return list(db.scalars(query.limit(limit)))


def past_alerts(db: Session, limit: int = 50) -> list[AlertRow]:
    """Those whose cause is gone, the last first."""
    query = select(AlertRow).where(AlertRow.resolved_at.is_not(None)).order_by(AlertRow.resolved_at.desc())
    return list(db.scalars(query.limit(limit)))
