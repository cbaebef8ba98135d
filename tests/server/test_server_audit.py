"""The audit log: written with each change, in order whoever writes, and not intact when tampered with."""

import json
import threading
from collections.abc import Callable

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import delete, select, text, update
from sqlalchemy.orm import Session
from tests.server.conftest import MovableClock, token_for

from backstay.domain.errors import BackstayError
from backstay.server import alerts, audit
from backstay.server.access import SYSTEM, Actor, Role
from backstay.server.audit_check import Verification, parse_head, verify
from backstay.server.control import Control
from backstay.server.settings import ServerKey
from backstay.server.tables import AlertRow, AuditEntry, Setting


def _write(control: Control, count: int, subject: str = "something") -> None:
    for number in range(count):
        with control.database.begin() as db:
            values = {"number": number, "ratio": 0.1, "of": ["ä", None, True], "when": "2026-01-01"}
            audit.record(
                db, SYSTEM, "test.change", subject, now=control.clock(), before=values, after={"x": number}
            )


def _verified(control: Control, expected: str = "") -> Verification:
    with control.database.read() as db:
        return verify(db, control.key, expected=parse_head(expected) if expected else None)


def _found(control: Control) -> list[tuple[int, str]]:
    return [(one.number, one.what) for one in _verified(control).findings]


def test_what_was_written_is_intact(control: Control, clock: MovableClock) -> None:
    """Entries are numbered without gaps, and read back from the database they have the digests they had."""
    assert _verified(control).findings == []
    _write(control, 3)
    clock.forward(microseconds=1)
    _write(control, 2)
    found = _verified(control)
    assert (found.entries, found.head.number, found.findings) == (5, 5, [])


def test_strange_text_is_kept_and_stays_intact(control: Control) -> None:
    """Names that are no text, too long, or hold a NUL, are written down, and are what they were when read."""
    actor = Actor("x" * 300 + "\0", frozenset(), "a" * 100)
    with control.database.begin() as db:
        values = {"path": "caf\udce9 \x00 \ud83d", "deep": {"1": [2.5e300, -0.0]}, "tuple": (1, 2)}
        audit.record(db, actor, "test.change", "caf\udce9\x00", now=control.clock(), before=values)
    assert _found(control) == []
    with control.database.read() as db:
        row = db.scalars(select(AuditEntry)).one()
    assert row.subject == "caf\\udce9\\x00"
    assert row.before == json.loads(json.dumps(values))


def test_an_entry_goes_with_its_change(control: Control) -> None:
    """What is rolled back leaves no entry, neither the whole transaction nor a savepoint in it."""
    with pytest.raises(RuntimeError), control.database.begin() as db:
        audit.record(db, SYSTEM, "test.change", "undone", now=control.clock())
        raise RuntimeError
    with control.database.begin() as db:
        audit.record(db, SYSTEM, "test.change", "first", now=control.clock())
        with pytest.raises(RuntimeError), db.begin_nested():
            audit.record(db, SYSTEM, "test.change", "undone", now=control.clock())
            raise RuntimeError
        with db.begin_nested():
            audit.record(db, SYSTEM, "test.change", "second", now=control.clock())
    with control.database.read() as db:
        subjects = db.scalars(select(AuditEntry.subject).order_by(AuditEntry.number)).all()
    assert subjects == ["first", "second"]
    assert _found(control) == []


def test_writers_at_the_same_time_take_turns(control: Control) -> None:
    """Many transactions at once, each with two entries and work between, lose none and fork no chain."""
    failures: list[BackstayError] = []

    def work(name: str) -> None:
        try:
            for _ in range(5):
                with control.database.begin() as db:
                    audit.record(db, SYSTEM, "test.change", name, now=control.clock())
                    shared = {"a": f"row-{name}", "b": "shared"}
                    for key in shared.values():
                        db.merge(Setting(name=key, value=name, updated_at=control.clock()))
                        db.flush()
                    audit.record(db, SYSTEM, "test.change", name, now=control.clock())
        except BackstayError as error:
            failures.append(error)

    with control.database.begin() as db:
        db.add(Setting(name="shared", value="", updated_at=control.clock()))
    threads = [threading.Thread(target=work, args=(f"writer-{number}",)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    found = _verified(control)
    assert (found.entries, found.findings) == (60, [])


def _altered(db: Session) -> None:
    db.execute(update(AuditEntry).where(AuditEntry.number == 4).values(who="somebody else"))


def _removed(db: Session) -> None:
    db.execute(delete(AuditEntry).where(AuditEntry.number.in_([4, 5])))


def _swapped(db: Session) -> None:
    for number, place in ((4, 99), (5, 4), (99, 5)):
        db.execute(update(AuditEntry).where(AuditEntry.number == number).values(number=place))


def _cut_off(db: Session) -> None:
    db.execute(delete(AuditEntry).where(AuditEntry.number > 6))


def _added(db: Session) -> None:
    last = db.get_one(AuditEntry, 8)
    row = AuditEntry(
        number=9, at=last.at, who="x", address="", action="a.b", subject="s", previous=last.digest
    )
    row.digest = audit.digest_of(row)
    db.add(row)


def _made_anew(db: Session) -> None:
    """Every digest is reckoned anew after an entry was taken out, so that the chain itself is whole."""
    rows = db.scalars(select(AuditEntry).order_by(AuditEntry.number)).all()
    db.expunge_all()
    db.execute(delete(AuditEntry))
    previous = ""
    for number, row in enumerate((row for row in rows if row.number != 4), start=1):
        again = AuditEntry(
            number=number,
            at=row.at,
            who=row.who,
            address=row.address,
            action=row.action,
            subject=row.subject,
            before=row.before,
            after=row.after,
            previous=previous,
        )
        previous = again.digest = audit.digest_of(again)
        db.add(again)


def _unsealed(db: Session) -> None:
    _made_anew(db)
    db.execute(delete(Setting).where(Setting.name == audit.HEAD))


def _sealed_by_another(db: Session) -> None:
    _made_anew(db)
    foreign = ServerKey(bytes(32)).seal(b'{"number": 7, "digest": "x"}', "audit head")
    import base64

    value = base64.b64encode(foreign).decode()
    db.execute(update(Setting).where(Setting.name == audit.HEAD).values(value=value))


@pytest.mark.parametrize(
    ("tamper", "number", "said"),
    [
        (_altered, 4, "altered"),
        (_removed, 4, "entries 4 to 5 are missing"),
        (_swapped, 4, "altered"),
        (_cut_off, 7, "the end was cut off: there were 8"),
        (_added, 9, "not written by this server"),
        (_made_anew, 8, "the end was cut off"),
        (_unsealed, 7, "the seal"),
        (_sealed_by_another, 7, "the seal"),
    ],
)
def test_tampering_shows(control: Control, tamper: Callable[[Session], None], number: int, said: str) -> None:
    """Whoever writes to the database, and has not the key, is found out, also after later changes."""
    _write(control, 8)
    with control.database.begin() as db:
        tamper(db)
    found = _found(control)
    assert found[0][0] == number
    assert said in found[0][1]
    _write(control, 2)
    assert _found(control) != []
    with control.database.read() as db:
        marks = db.scalars(select(AuditEntry).where(AuditEntry.action == audit.BROKEN)).all()
    # What leaves the newest entry as it was needs no mark: the chain itself shows it.
    assert len(marks) == (0 if tamper in (_altered, _removed, _swapped) else 1)


@pytest.mark.parametrize("tamper", [_cut_off, _made_anew, _unsealed])
def test_tampering_raises_an_alert(
    control: Control, clock: MovableClock, tamper: Callable[[Session], None]
) -> None:
    """Nobody has to ask: what the chain alone does not show is an alert, also after later changes."""
    _write(control, 8)
    alerts.evaluate(control)
    with control.database.begin() as db:
        tamper(db)
    for _ in range(2):
        clock.forward(minutes=5)
        alerts.evaluate(control)
        with control.database.read() as db:
            kinds = db.scalars(select(AlertRow.kind).where(AlertRow.resolved_at.is_(None))).all()
        assert "audit_broken" in kinds
        _write(control, 1)


def test_an_earlier_head_shows_an_older_state(control: Control) -> None:
    """Where even the seal was put back with the rest, the head that was kept elsewhere does not fit."""
    _write(control, 3)
    with control.database.read() as db:
        old = db.get_one(Setting, audit.HEAD).value
    _write(control, 3)
    head = str(_verified(control).head)
    assert _verified(control, head).findings == []
    with control.database.begin() as db:
        db.execute(delete(AuditEntry).where(AuditEntry.number > 3))
        db.execute(update(Setting).where(Setting.name == audit.HEAD).values(value=old))
    assert _verified(control).findings == []
    assert [one.number for one in _verified(control, head).findings] == [4]
    _write(control, 3, "another story")
    assert [one.number for one in _verified(control, head).findings] == [6]


def test_the_log_is_read_page_by_page_and_filtered(client: TestClient, control: Control) -> None:
    """Newest first, by who, action, subject and time; an auditor may, an operator may not."""
    _write(control, 5)
    client.post("/api/v1/enrolment-tokens", json={"comment": "100% _sure"})
    client.headers["Authorization"] = f"Bearer {token_for(control, Role.AUDITOR)}"
    first = client.get("/api/v1/audit", params={"limit": 4}).json()
    assert [one["number"] for one in first["items"]] == [6, 5, 4, 3]
    second = client.get("/api/v1/audit", params={"limit": 4, "after": first["next"]}).json()
    assert [one["number"] for one in second["items"]] == [2, 1]
    assert second["next"] is None

    def numbers(**query: str) -> list[int]:
        return [one["number"] for one in client.get("/api/v1/audit", params=query).json()["items"]]

    assert numbers(action="enrolment") == [6]
    assert numbers(who="SERVER", subject="some") == [5, 4, 3, 2, 1]
    assert numbers(who="%") == []
    assert numbers(since="2026-11-25T12:00:00Z", until="2026-11-25T13:00:01+01:00") == [6, 5, 4, 3, 2, 1]
    assert numbers(until="2026-11-25T12:00:00Z") == []
    assert client.get("/api/v1/audit", params={"since": "2026-11-25T12:00:00"}).status_code == 422
    client.headers["Authorization"] = f"Bearer {token_for(control, Role.OPERATOR)}"
    assert client.get("/api/v1/audit").status_code == 403
    assert client.get("/api/v1/audit/export").status_code == 403


def test_an_export_can_be_checked_on_its_own(client: TestClient, control: Control) -> None:
    """Each line holds what its digest covers, and the digest of the line before."""
    _write(control, 3)
    answer = client.get("/api/v1/audit/export")
    previous = ""
    lines = answer.text.splitlines()
    assert len(lines) == 3
    for line in lines:
        fields = json.loads(line)
        assert fields["previous"] == previous
        previous = fields["digest"]


def test_the_api_says_whether_the_log_is_intact(client: TestClient, control: Control) -> None:
    """It tells the head, compares an earlier one, and finds what was altered."""
    _write(control, 2)
    seen = client.get("/api/v1/audit/verification").json()
    assert seen["intact"] is True
    again = client.get("/api/v1/audit/verification", params={"head": seen["head"]}).json()
    assert again == seen
    assert client.get("/api/v1/audit/verification", params={"head": "1:abc"}).status_code == 422
    with control.database.begin() as db:
        db.execute(text("UPDATE audit SET subject = 'nothing' WHERE number = 1"))
    seen = client.get("/api/v1/audit/verification").json()
    assert seen["intact"] is False
    assert seen["findings"][0] == {"number": 1, "what": "entry 1 was altered"}
