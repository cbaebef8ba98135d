"""Alerts: each is there while its cause is, once, and derived from the database alone."""

import threading
from datetime import timedelta

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import delete, select, update
from tests.server.conftest import MovableClock, token_for
from tests.server.estate import ADMIN, NIGHTLY, Estate

from backstay.server import alerts, audit, job_queue
from backstay.server.access import Role
from backstay.server.control import Control
from backstay.server.repositories import default_repository
from backstay.server.settings import ServerSettings
from backstay.server.tables import (
    AlertRow,
    AuditEntry,
    FileServer,
    JobRow,
    PackRow,
    PolicyRow,
    RepositoryFigures,
)


@pytest.fixture
def estate(control: Control, clock: MovableClock) -> Estate:
    """An estate without anything."""
    return Estate(control, clock)


@pytest.fixture
def set_id(estate: Estate) -> int:
    """A set that is backed up each night at ten; it is noon."""
    return estate.backup_set(estate.file_server(), estate.policy())


def test_a_scheduled_time_without_a_backup_is_missed_until_one_succeeds(estate: Estate, set_id: int) -> None:
    """Missed comes after the time and its grace, stays one alert for days, and goes with the next success."""
    assert estate.look() == {}
    estate.forward(hours=10)
    assert estate.look() == {}
    estate.forward(minutes=20)
    assert "fs1: data was not backed up as scheduled at 2026-11-25 22:00 UTC" in estate.look()["missed"]
    first = estate.active()[0].id
    estate.forward(days=2)
    assert estate.look().keys() == {"missed"}
    assert estate.active()[0].id == first
    job = estate.backup(set_id)
    estate.end(job)
    assert estate.look() == {}
    estate.forward(days=1, hours=1)
    estate.look()
    assert estate.active()[0].id > first


def test_a_backup_that_runs_or_waits_for_its_time_is_not_missed(estate: Estate, set_id: int) -> None:
    """A running job excuses a scheduled time; a queued one only until the next scheduled time."""
    estate.forward(hours=10)
    running = estate.backup(set_id, scheduled_for=estate.clock())
    estate.forward(hours=30)
    assert estate.look() == {}
    estate.end(running)
    estate.forward(hours=20)
    with estate.control.database.begin() as db:
        db.execute(update(JobRow).values(state="queued", ended_at=None))
        db.execute(update(JobRow).values(not_before=estate.clock() + timedelta(hours=1)))
    assert estate.look() == {}
    estate.forward(hours=2)
    assert "still queued" in estate.look()["missed"]


def test_a_skipped_backup_is_missed_and_says_why(estate: Estate, set_id: int) -> None:
    """The reason for which the job was skipped is in the alert."""
    estate.forward(hours=10)
    at = estate.clock()
    estate.forward(hours=2)
    estate.skip(set_id, scheduled_for=at, reason="the backup window closed at 23:00 UTC")
    assert "the backup window closed at 23:00 UTC" in estate.look()["missed"]


def test_a_failure_is_an_alert_only_after_the_last_attempt(estate: Estate, set_id: int) -> None:
    """While another attempt is to come nothing is said; the last failure is; success resolves it."""
    estate.end(estate.backup(set_id), "failed", reason="the disk is gone")
    for _ in range(3):
        assert "failed" not in estate.look()
        estate.forward(minutes=11)
        with estate.control.database.begin() as db:
            job = db.scalars(select(JobRow).where(JobRow.state == "queued")).one()
            server = db.get_one(FileServer, job.file_server_id)
            job_queue.lease_for_agent(db, server, server.instance, estate.clock())
            number = job.id
        estate.end(number, "failed", reason="the disk is gone")
    assert "failed after 4 attempts: the disk is gone" in estate.look()["failed"]
    estate.end(estate.backup(set_id))
    assert estate.look() == {}


def test_an_incomplete_backup_names_files_without_a_good_copy_for_long(estate: Estate, set_id: int) -> None:
    """Green is never incomplete; a file that was bad in every backup for a week is named, others are not."""
    estate.end(estate.backup(set_id), problems=(b"/srv/mail.db", b"/srv/once"))
    assert "lacks a good copy of 2 files" in estate.look()["incomplete"]
    for day in range(8):
        estate.forward(days=1)
        other = b"/srv/now" if day > 2 else b"/srv/once"
        estate.end(estate.backup(set_id), problems=(b"/srv/mail.db", other))
    text = estate.look()["incomplete"]
    assert "for 7 days or longer: /srv/mail.db" in text
    assert "once" not in text
    assert "now" not in text
    assert estate.active()[0].severity == "critical"
    estate.end(estate.backup(set_id))
    assert estate.look() == {}


def test_silent_agents_are_told_but_not_for_the_servers_own_absence(estate: Estate) -> None:
    """Silence counts while a server listens; an alert from before the server was away stays the same."""
    estate.file_server("gone", well=False)
    estate.look()
    for _ in range(9):
        estate.forward(minutes=2)
        told = estate.look()
    assert "the agent of gone has not been heard of since 2026-11-25 12:00 UTC" in told["agent_silent"]
    first = estate.active()[0].id
    estate.file_server("quiet", well=False)
    estate.forward(hours=5)
    estate.look()
    assert [alert.id for alert in estate.active()] == [first]
    for _ in range(6):
        estate.forward(minutes=2)
        estate.look()
    assert len(estate.active()) == 2


def test_a_wrong_clock_and_a_second_machine_are_seen(
    estate: Estate, client: TestClient, clock: MovableClock
) -> None:
    """What agents say in their greeting raises both alerts, and they go when the cause goes."""
    number = estate.file_server("fs1", well=False)

    def greet(machine: str, instance: str, ahead: float) -> int:
        return client.post(
            "/agent/v1/lease",
            headers={"Authorization": f"Agent {number}:secret-fs1", "X-Backstay-Instance": instance},
            json={
                "instance": instance,
                "machine_id": machine,
                "boot_id": "b",
                "time_ns": int((clock().timestamp() + ahead) * 1e9),
                "wait_seconds": 0,
            },
        ).status_code

    assert greet("machine-fs1", "i1", 86400.0) == 200
    assert greet("machine-copy", "i2", 0.0) == 409
    told = estate.look()
    assert "the clock of fs1 is 24 hours ahead of the server's" in told["clock_wrong"]
    assert "two machines speak as fs1" in told["two_agents"]
    clock.forward(hours=2)
    assert greet("machine-fs1", "i1", 1.0) == 200
    assert estate.look() == {}


def test_storage_is_foretold_to_fill(estate: Estate, control: Control) -> None:
    """Growth and room give the day; where the storage does not grow, only little room counts."""
    with control.database.begin() as db:
        repository = default_repository(db)
        assert repository is not None
        for day in range(8):
            db.add(
                RepositoryFigures(
                    repository_id=repository.id,
                    at=estate.clock() - timedelta(days=7 - day),
                    stored_bytes=(1000 + 100 * day) << 30,
                    source_bytes=0,
                    packs=0,
                    restore_points=0,
                    free_bytes=(1700 - 100 * day) << 30,
                )
            )
    told = estate.look()["storage_filling"]
    assert "1000.0 GiB left" in told
    assert "full in 10 days" in told
    with control.database.begin() as db:
        db.execute(delete(RepositoryFigures).where(RepositoryFigures.stored_bytes > 1000 << 30))
    assert estate.look() == {}


def test_damage_that_a_verification_found_stays_until_it_is_mended(estate: Estate, control: Control) -> None:
    """A damaged pack is an alert for its repository."""
    with control.database.begin() as db:
        repository = default_repository(db)
        assert repository is not None
        row = PackRow(
            repository_id=repository.id,
            digest="ab" * 32,
            session="cd" * 16,
            size=1,
            stored_at=estate.clock(),
            damaged=True,
        )
        db.add(row)
    assert "default is damaged: 1 pack" in estate.look()["damage"]
    with control.database.begin() as db:
        db.execute(update(PackRow).values(damaged=False))
    assert estate.look() == {}


def test_gaps_in_what_is_covered_are_seen(estate: Estate) -> None:
    """A set without policy, one whose policy has no schedule, and a policy without sets are told."""
    server = estate.file_server()
    by_hand = estate.policy("by hand", {})
    estate.backup_set(server, None, "bare")
    assert "no policy covers fs1: bare" in estate.look()["set_uncovered"]
    assert "the policy by hand protects nothing" in estate.look()["policy_protects_nothing"]
    estate.backup_set(server, by_hand, "manual")
    estate.look()
    texts = [alert.text for alert in estate.active()]
    assert len(texts) == 2
    assert any("the policy by hand has no schedule: fs1: manual" in text for text in texts)
    with estate.control.database.begin() as db:
        db.execute(update(PolicyRow).values(values=NIGHTLY))
    assert len(estate.active()) == 2
    estate.look()
    assert [alert.text for alert in estate.active()] == [
        "no policy covers fs1: bare: it is backed up by hand only"
    ]


@pytest.mark.parametrize("how", ["changed", "cut off", "taken out"])
def test_a_changed_audit_log_is_seen(estate: Estate, control: Control, how: str) -> None:
    """Changing, cutting off or taking out an entry raises an alert that does not go by itself."""
    for number in range(5):
        with control.database.begin() as db:
            audit.record(db, ADMIN, "test.change", f"thing {number}", now=estate.clock())
    assert estate.look() == {}
    with control.database.begin() as db:
        if how == "changed":
            db.execute(update(AuditEntry).where(AuditEntry.number == 3).values(who="somebody else"))
        elif how == "cut off":
            db.execute(delete(AuditEntry).where(AuditEntry.number == 5))
        else:
            db.execute(delete(AuditEntry).where(AuditEntry.number == 3))
    for _ in range(3):
        estate.forward(days=1, minutes=1)
        told = estate.look()
    number = {"changed": 3, "cut off": 5, "taken out": 4}[how]
    assert f"tampered with at entry {number}" in told["audit_broken"]


def test_an_expiring_certificate_is_told_by_the_machine_that_shows_it(
    estate: Estate, control: Control, clock: MovableClock
) -> None:
    """A self-signed certificate near its end is an alert, until there is another."""
    from dataclasses import replace

    settings: ServerSettings = replace(control.settings, tls="self-signed")
    secure = replace(control, settings=settings)
    alerts.evaluate(secure)
    assert estate.active() == []
    clock.forward(days=365 * 20)
    alerts.evaluate(secure)
    assert "expired at" in estate.active()[0].text
    (settings.folder / "tls.crt").unlink()
    clock.forward(days=-365 * 20, minutes=5)
    alerts.evaluate(secure)
    assert estate.active() == []


def test_several_processes_raise_an_alert_once(estate: Estate, set_id: int, control: Control) -> None:
    """However many processes look at the same moment, there is one alert for a cause."""
    estate.forward(days=1)
    barrier = threading.Barrier(4)

    def look() -> None:
        barrier.wait()
        alerts.evaluate(control)

    for _ in range(3):
        estate.clock.forward(seconds=20)
        threads = [threading.Thread(target=look) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    with control.database.read() as db:
        assert [row.kind for row in db.scalars(select(AlertRow))] == ["missed"]


def test_alerts_are_listed_and_acknowledged_through_the_api(
    estate: Estate, set_id: int, client: TestClient, control: Control
) -> None:
    """Who may run things may take an alert on, once; the audit log has it; limits can be changed."""
    estate.forward(days=1)
    estate.look()
    (alert,) = client.get("/api/v1/alerts", params={"active": True, "severity": "warning"}).json()["items"]
    assert (alert["kind"], alert["backup_set_id"]) == ("missed", set_id)
    path = f"/api/v1/alerts/{alert['id']}/acknowledge"
    auditor = {"Authorization": f"Bearer {token_for(control, Role.AUDITOR)}"}
    assert client.post(path, headers=auditor).status_code == 403
    assert client.post(path).json()["acknowledged_by"].startswith("administrator-")
    assert client.post(path).status_code == 200
    with control.database.read() as db:
        actions = db.scalars(select(AuditEntry.action)).all()
    assert list(actions).count("alert.acknowledge") == 1
    assert client.put("/api/v1/alert-limits", json={"missed_after_seconds": 7 * 86400}).status_code == 200
    assert estate.look() == {}
    assert client.post(path).status_code == 409
    assert client.get("/api/v1/alerts", params={"active": False}).json()["total"] == 1
