"""Whether the audit log is still what was written: a part of the chain at each look."""

from collections.abc import Iterator
from datetime import datetime, timedelta

from sqlalchemy import func, select

from backstay.server import audit
from backstay.server.alert_checks.finding import AlertKind, Facts, Finding, Severity
from backstay.server.audit import Head
from backstay.server.tables import AuditEntry

_AT_ONCE = 1000
_AGAIN_AFTER = timedelta(days=1)


def broken(facts: Facts) -> Iterator[Finding]:
    """An entry was changed, taken out, or put in between; the end was cut off, or is not the one sealed.

    New entries, and the seal, are checked at the next look, all of them once a day.
    """
    memory = facts.memory.setdefault("audit", {"number": 0, "digest": "", "from": facts.now.isoformat()})
    wrong = _first_wrong(facts, memory) or _past_the_seal(facts)
    if wrong is None:
        return
    yield Finding(
        AlertKind.AUDIT_BROKEN,
        Severity.CRITICAL,
        "audit",
        f"the audit log was tampered with at entry {wrong}",
        "somebody changed the database by hand: see `backstay audit verify`, compare with a copy of the "
        "database from before, and find out who could write to it",
    )


def _first_wrong(facts: Facts, memory: dict[str, object]) -> int | None:
    db = facts.db
    number, digest = int(str(memory["number"])), str(memory["digest"])
    last = db.scalar(select(func.max(AuditEntry.number))) or 0
    if number:
        kept = db.scalar(select(AuditEntry.digest).where(AuditEntry.number == number))
        if kept != digest:
            return number
    if number >= last and facts.now - datetime.fromisoformat(str(memory["from"])) > _AGAIN_AFTER:
        number, digest = 0, ""
        memory["from"] = facts.now.isoformat()
    entries = db.scalars(
        select(AuditEntry).where(AuditEntry.number > number).order_by(AuditEntry.number).limit(_AT_ONCE)
    ).all()
    for entry in entries:
        follows = entry.number == number + 1 and entry.previous == digest
        if not follows or audit.digest_of(entry) != entry.digest or entry.action == audit.BROKEN:
            # From here it is looked at again, until it is as it was.
            memory["number"], memory["digest"] = number, digest
            return entry.number
        number, digest = entry.number, entry.digest
    memory["number"], memory["digest"] = number, digest
    return None


def _past_the_seal(facts: Facts) -> int | None:
    """Where the log ends otherwise than this server left it."""
    last = audit.newest(facts.db)
    sealed = audit.sealed_head(facts.db, facts.control.key) or Head(0, "")
    return None if last == sealed else max(1, min(last.number, sealed.number))
