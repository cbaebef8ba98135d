"""The audit log: who changed what, when and from where, hash-chained so that tampering shows.

The digest of an entry is the SHA-256 of the one before it and of the entry as canonical JSON (sorted keys,
no spaces, UTF-8).
"""

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from backstay.server.access import Actor
from backstay.server.tables import AuditEntry


def record(
    db: Session,
    actor: Actor,
    action: str,
    subject: str,
    *,
    now: datetime,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
) -> None:
    """Add an entry in the transaction of the change itself, so that neither is without the other.

    Args:
        action: noun and verb, as "policy.change".
        subject: what was changed, as a person names it.
        before, after: the values that changed, JSON; never secrets.
    """
    last = db.scalars(
        select(AuditEntry).order_by(AuditEntry.number.desc()).limit(1).with_for_update()
    ).first()
    entry = AuditEntry(
        number=last.number + 1 if last else 1,
        at=now,
        who=actor.name,
        address=actor.address,
        action=action,
        subject=subject,
        before=dict(before) if before is not None else None,
        after=dict(after) if after is not None else None,
        previous=last.digest if last else "",
    )
    entry.digest = digest_of(entry)
    db.add(entry)
    db.flush()


def difference(
    before: Mapping[str, Any], after: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """The values that differ, as they were and as they are; None where nothing has changed."""
    names = [name for name in after if before.get(name) != after[name]]
    if not names:
        return None
    return {name: before.get(name) for name in names}, {name: after[name] for name in names}


def digest_of(entry: AuditEntry) -> str:
    """The digest that the entry should have."""
    fields = {
        "number": entry.number,
        "at": entry.at.isoformat(),
        "who": entry.who,
        "address": entry.address,
        "action": entry.action,
        "subject": entry.subject,
        "before": entry.before,
        "after": entry.after,
    }
    canonical = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(entry.previous.encode() + canonical.encode()).hexdigest()
