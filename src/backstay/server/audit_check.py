"""Whether the audit log is still what was written; see audit.py for what its seal protects against."""

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from backstay.domain.errors import UsageError
from backstay.server import audit
from backstay.server.audit import Head
from backstay.server.settings import ServerKey
from backstay.server.tables import AuditEntry

MOST_FINDINGS = 100
_AT_ONCE = 1000


@dataclass(frozen=True)
class Finding:
    """Something that is not as it was written; `number`: of the first entry that it touches."""

    number: int
    what: str


@dataclass(frozen=True)
class Verification:
    """What a check found.

    Attributes:
        entries: how many there are.
        head: the newest that is there: keep it elsewhere, and compare it at the next check.
        sealed: whether the seal of the newest entry was checked too.
        findings: the first MOST_FINDINGS of what is wrong; none: the log is intact.
    """

    entries: int
    head: Head
    sealed: bool
    findings: list[Finding]


def parse_head(text: str) -> Head:
    """A head as `verify` tells it: NUMBER:DIGEST. Raises UsageError."""
    number, _, digest = text.strip().partition(":")
    if not number.isdecimal() or len(number) > 18 or len(digest) != 64:
        raise UsageError(
            f"{text} is no head of an audit log",
            hint="write it as `backstay audit verify` told it: NUMBER:DIGEST",
        )
    return Head(int(number), digest.lower())


def verify(db: Session, key: ServerKey | None, *, expected: Head | None = None) -> Verification:
    """Check every entry, the chain, and the seal, in one consistent view.

    Args:
        key: None: the seal is left aside, and an end that was cut off is not noticed.
        expected: the head of an earlier check: the entry of that number must still have that digest.
    """
    check = _Check(expected)
    number = 0
    while True:
        rows = db.scalars(
            select(AuditEntry).where(AuditEntry.number > number).order_by(AuditEntry.number).limit(_AT_ONCE)
        ).all()
        for row in rows:
            check.look_at(row)
        if len(rows) < _AT_ONCE:
            break
        number = rows[-1].number
        db.expunge_all()
    if key is not None:
        check.compare_seal(audit.sealed_head(db, key))
    if expected is not None and expected.number > check.last.number:
        check.found(check.last.number + 1, f"the log ends before entry {expected.number}, which was there")
    return Verification(check.entries, check.last, key is not None, check.findings)


class _Check:
    """Looks at the entries one after the other."""

    def __init__(self, expected: Head | None) -> None:
        self.entries = 0
        self.last = Head(0, "")
        self.findings: list[Finding] = []
        self._expected = expected

    def found(self, number: int, what: str) -> None:
        if len(self.findings) < MOST_FINDINGS:
            self.findings.append(Finding(number, what))

    def look_at(self, row: AuditEntry) -> None:
        number, due = row.number, self.last.number + 1
        if number > due:
            gone = f"entry {due} is" if number == due + 1 else f"entries {due} to {number - 1} are"
            self.found(due, f"{gone} missing")
        if audit.digest_of(row) != row.digest:
            self.found(number, f"entry {number} was altered")
        if row.previous != self.last.digest:
            self.found(number, f"entry {number} does not follow the one before it: one of them was replaced")
        if (
            self._expected is not None
            and number == self._expected.number
            and row.digest != self._expected.digest
        ):
            self.found(number, f"entry {number} is not the one that was there at the earlier check")
        if row.action == audit.BROKEN:
            found, sealed = (row.after or {}).get("found"), (row.before or {}).get("sealed")
            self.found(
                number,
                f"before entry {number} the log was changed by somebody else: it ended with {found}, where "
                f"this server had left {sealed}",
            )
        self.entries += 1
        self.last = Head(number, row.digest)

    def compare_seal(self, sealed: Head | None) -> None:
        last = self.last
        if sealed is None:
            if self.entries:
                self.found(last.number, "the seal of the newest entry is missing, or of another server's key")
        elif sealed.number > last.number:
            self.found(last.number + 1, f"the end was cut off: there were {sealed.number} entries")
        elif sealed.number < last.number:
            self.found(
                sealed.number + 1, f"what follows entry {sealed.number} was not written by this server"
            )
        elif sealed.digest != last.digest:
            self.found(last.number, f"entry {last.number} is not the one that this server wrote")
