"""Whether the audit log is still what was written: a part of the chain at each look."""

from collections.abc import Iterator
from datetime import datetime, timedelta

from sqlalchemy import func, select

from backstay.server import audit
from backstay.server.alert_checks.finding import AlertKind, Facts, Finding, Severity
from backstay.server.tables import AuditEntry

_AT_ONCE = 1000
_AGAIN_AFTER = timedelta(days=1)


def broken(facts: Facts) -> Iterator[Finding]:
    """An entry was changed, taken out, or put in between; the end was cut off.

    New entries are checked at the next look, all of them once a day.
    """
    memory = facts.memory.setdefault("audit", {"number": 0, "digest": "", "from": facts.now.isoformat()})
    wrong = _first_wrong(facts, memory)
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
        if entry.number != number + 1 or entry.previous != digest or audit.digest_of(entry) != entry.digest:
            # From here it is looked at again, until it is as it was.
            memory["number"], memory["digest"] = number, digest
            return entry.number
        number, digest = entry.number, entry.digest
    memory["number"], memory["digest"] = number, digest
    return None
