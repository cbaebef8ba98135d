"""The audit log: who changed what, when and from where, chained and sealed so that tampering shows.

The digest of an entry is the SHA-256 of the one before it and of the entry as canonical JSON (sorted keys, no
spaces, ASCII). Number and digest of the newest entry are sealed with the server's key: the *head*. What that
protects against, and what not:

- Whoever can write to the database, and has no server key, cannot change, remove, insert or reorder entries,
  cut off the end, or make the whole chain anew: the head does not fit any more. Taking the head away as well
  does not help, as the next change finds it missing, and writes that down for ever as `audit.broken`.
- Whoever puts an *older* state of the whole database back, or empties the log and takes its head as if there
  had never been one, goes unnoticed here, and so does whoever has the server's key. Against them, keep the
  head, or an export, elsewhere: `backstay audit verify` tells the head, and compares it with an earlier one.

Entries are written at the end of their transaction, one transaction at a time: numbers have no gaps.
"""

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import event, select
from sqlalchemy.orm import Session, SessionTransaction

from backstay.domain.errors import ServerError
from backstay.server.access import SYSTEM, Actor
from backstay.server.database import SERVER_KEY, Lock, hold
from backstay.server.settings import ServerKey
from backstay.server.tables import AuditEntry, Setting

BROKEN = "audit.broken"
"""The action of an entry that says: what came before it was not as this server had left it."""

HEAD = "audit_head"
"""The setting that holds the sealed head."""

_PENDING = "backstay.audit"
_MARKS = "backstay.audit.marks"
_PURPOSE = "audit head"


@dataclass(frozen=True)
class Head:
    """The newest entry, or what the seal says of it; number 0 and no digest: there is none."""

    number: int
    digest: str

    def __str__(self) -> str:
        return f"{self.number}:{self.digest}"


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
    entry = AuditEntry(
        at=now,
        who=_text(actor.name)[:255],
        address=_text(actor.address)[:64],
        action=action,
        subject=_text(subject),
        before=_plain(before),
        after=_plain(after),
    )
    db.info.setdefault(_PENDING, []).append(entry)


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
    canonical = json.dumps(fields, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(entry.previous.encode() + canonical.encode()).hexdigest()


def newest(db: Session) -> Head:
    """The newest entry that is there."""
    row = db.execute(
        select(AuditEntry.number, AuditEntry.digest).order_by(AuditEntry.number.desc()).limit(1)
    ).first()
    return Head(row[0], row[1]) if row else Head(0, "")


def sealed_head(db: Session, key: ServerKey) -> Head | None:
    """What the seal says of the newest entry; None where it is missing, or was not made with this key."""
    row = db.get(Setting, HEAD, populate_existing=True)
    if row is None:
        return None
    try:
        fields = json.loads(key.open(base64.b64decode(row.value), _PURPOSE))
        return Head(fields["number"], fields["digest"])
    except (ServerError, ValueError, TypeError):
        return None


@event.listens_for(Session, "before_commit")
def _write(db: Session) -> None:
    """Write what is pending: last, so that nothing waits for another transaction while it holds the lock."""
    pending: list[AuditEntry] = db.info.get(_PENDING, [])
    if not pending or db.in_nested_transaction():
        return
    db.info[_PENDING] = []
    key: ServerKey = db.info[SERVER_KEY]
    db.flush()
    hold(db, Lock.AUDIT)
    last, sealed = newest(db), sealed_head(db, key)
    if last != (sealed or Head(0, "")):
        pending = [_broken(last, sealed, pending[0].at), *pending]
    number, previous = max(last.number, sealed.number if sealed else 0), last.digest
    for entry in pending:
        number += 1
        entry.number, entry.previous = number, previous
        previous = entry.digest = digest_of(entry)
        db.add(entry)
    data = json.dumps({"number": number, "digest": previous}).encode()
    value = base64.b64encode(key.seal(data, _PURPOSE)).decode()
    db.merge(Setting(name=HEAD, value=value, updated_at=pending[-1].at))
    db.flush()


def _broken(last: Head, sealed: Head | None, now: datetime) -> AuditEntry:
    """What is written, once, when the log is not as it was left; work goes on, but it is not forgotten."""
    return AuditEntry(
        at=now,
        who=SYSTEM.name,
        address="",
        action=BROKEN,
        subject="the audit log",
        before={"sealed": str(sealed) if sealed else "no seal that opens with this server's key"},
        after={"found": str(last)},
    )


@event.listens_for(Session, "after_transaction_create")
def _mark(db: Session, transaction: SessionTransaction) -> None:
    if transaction.nested:
        db.info.setdefault(_MARKS, {})[transaction] = len(db.info.get(_PENDING, []))


@event.listens_for(Session, "after_soft_rollback")
def _forget(db: Session, transaction: SessionTransaction) -> None:
    """What was rolled back was not done."""
    pending: list[AuditEntry] = db.info.get(_PENDING, [])
    kept = db.info.get(_MARKS, {}).pop(transaction, 0) if transaction.nested else 0
    del pending[kept:]


def _text(text: str) -> str:
    """As both databases can keep it: no lone surrogates, no NUL."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")


def _plain(values: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """As it will be read again: what JSON makes of it."""
    if values is None:
        return None
    plain: dict[str, Any] = json.loads(json.dumps(values, allow_nan=False))
    return plain
