"""What is sent when: once, grouped, not while it flaps, again when it failed, to whom it concerns."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select, update
from tests.server.conftest import MovableClock, token_for
from tests.server.estate import ADMIN, Estate
from tests.server.test_server_login import Serving

from backstay.cli.main import main
from backstay.server import alerts
from backstay.server.access import Role
from backstay.server.alerts import AlertLimits, Severity
from backstay.server.control import Control
from backstay.server.notifications import channels, outbox
from backstay.server.tables import AlertRow, AuditEntry, BackupSetRow, Delivery, NotificationChannel
from backstay.testing.channel_suite import SECRET
from backstay.testing.receivers import HttpReceiver, http_receiver


@pytest.fixture
def estate(control: Control, clock: MovableClock) -> Estate:
    """An estate with a channel's worth of things to go wrong."""
    return Estate(control, clock)


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """A server that answers."""
    server = Serving(tmp_path_factory.mktemp("server"))
    yield server
    server.close()


@pytest.fixture
def hook() -> Iterator[HttpReceiver]:
    """A receiver of webhooks."""
    with http_receiver() as receiver:
        yield receiver


def _channel(control: Control, hook: HttpReceiver, name: str = "hook", **fields: Any) -> int:
    with control.database.begin() as db:
        row = channels.create_channel(
            db,
            ADMIN,
            control.key,
            now=control.clock(),
            name=name,
            kind="webhook",
            target={"url": f"http://127.0.0.1:{hook.port}/{name}", "secret": SECRET},
            **fields,
        )
        return row.id


def _tick(estate: Estate) -> int:
    estate.look()
    return outbox.run(estate.control)


def _said(hook: HttpReceiver) -> dict[str, list[str]]:
    document = json.loads(hook.requests[-1][2])
    return {part: [note["text"] for note in document[part]] for part in ("raised", "reminded", "resolved")}


def _trouble(estate: Estate, name: str) -> int:
    """A set that no policy covers: a warning, until it is switched off."""
    return estate.backup_set(estate.file_server(f"server of {name}"), None, name)


def _switch(estate: Estate, set_id: int, *, on: bool) -> None:
    with estate.control.database.begin() as db:
        db.execute(update(BackupSetRow).where(BackupSetRow.id == set_id).values(enabled=on))


def test_many_alerts_are_one_message_and_are_sent_once(
    estate: Estate, control: Control, hook: HttpReceiver
) -> None:
    """All alerts of one look are one message; the next looks send nothing; that they are gone is one more."""
    _channel(control, hook)
    sets = [_trouble(estate, f"s{number}") for number in range(5)]
    assert _tick(estate) == 1
    assert len(_said(hook)["raised"]) == 5
    for _ in range(4):
        estate.forward(minutes=5)
        assert _tick(estate) == 0
    for number in sets:
        _switch(estate, number, on=False)
    assert _tick(estate) == 0
    estate.forward(minutes=11)
    assert _tick(estate) == 1
    assert len(_said(hook)["resolved"]) == 5
    assert _said(hook)["raised"] == []


def test_alerts_that_come_one_by_one_wait_for_each_other(
    estate: Estate, control: Control, hook: HttpReceiver
) -> None:
    """A channel gets one message in five minutes at most, with all that came meanwhile."""
    _channel(control, hook)
    for number in range(8):
        _trouble(estate, f"s{number}")
        _tick(estate)
    assert len(hook.requests) == 1
    estate.forward(minutes=5)
    _tick(estate)
    assert len(hook.requests) == 2
    assert len(_said(hook)["raised"]) == 7


def test_flapping_is_quiet(estate: Estate, control: Control, hook: HttpReceiver) -> None:
    """A cause that goes and comes back within ten minutes is told of once, and its end once."""
    _channel(control, hook)
    number = _trouble(estate, "s")
    _tick(estate)
    for _ in range(6):
        for on in (False, True):
            estate.forward(minutes=4)
            _switch(estate, number, on=on)
            assert _tick(estate) == 0
    _switch(estate, number, on=False)
    _tick(estate)
    estate.forward(minutes=11)
    assert _tick(estate) == 1
    assert len(hook.requests) == 2
    assert len(_said(hook)["resolved"]) == 1


def test_reminders_are_one_message_and_spare_what_somebody_took_on(
    estate: Estate, control: Control, hook: HttpReceiver
) -> None:
    """Once a day what is still active is told again in one message, but not what was acknowledged."""
    _channel(control, hook)
    for name in ("mine", "forgotten"):
        _trouble(estate, name)
    _tick(estate)
    with control.database.begin() as db:
        mine = db.scalars(select(AlertRow).where(AlertRow.text.contains("mine"))).one()
        alerts.acknowledge(db, ADMIN, mine.id, now=control.clock())
    sent = 0
    for _ in range(9):
        estate.forward(hours=6)
        sent += _tick(estate)
    assert sent == 2
    assert [("forgotten" in text) for text in _said(hook)["reminded"]] == [True]


def test_a_failed_message_is_sent_later_with_all_that_came_meanwhile(
    estate: Estate, control: Control, hook: HttpReceiver
) -> None:
    """Attempts grow rarer; the channel shows the error, an alert goes through the other, nothing is lost."""
    with http_receiver() as other:
        broken = _channel(control, hook)
        _channel(control, other, "other", least_severity=Severity.CRITICAL)
        hook.refusing = True
        first = _trouble(estate, "first")
        _tick(estate)
        with control.database.read() as db:
            assert "answered 503" in channels.get_channel(db, broken).last_error
        over = _trouble(estate, "over soon")
        for _ in range(7):
            estate.forward(minutes=3)
            _tick(estate)
        _switch(estate, over, on=False)
        for _ in range(4):
            estate.forward(minutes=3)
            _tick(estate)
        with control.database.read() as db:
            attempts = db.scalars(select(Delivery.attempts).where(Delivery.channel_id == broken)).one()
        assert 3 <= attempts <= 8
        assert len(other.requests) == 1
        assert "through the notification channel hook" in _said(other)["raised"][0]
        hook.refusing = False
        estate.forward(hours=1)
        _tick(estate)
        assert len(hook.requests) == 1
        assert ["first" in text for text in _said(hook)["raised"]] == [True]
        assert _said(hook)["resolved"] == []
        _switch(estate, first, on=False)
        estate.look()
        with control.database.read() as db:
            assert channels.get_channel(db, broken).failing_since is None
        assert estate.active() == []


def test_a_channel_hears_only_what_is_bad_enough(
    estate: Estate, control: Control, hook: HttpReceiver
) -> None:
    """Below a channel's least severity nothing is sent; what got worse is sent anew."""
    _channel(control, hook, least_severity=Severity.CRITICAL, reminder_seconds=0)
    set_id = estate.backup_set(estate.file_server(), estate.policy())
    estate.end(estate.backup(set_id), problems=(b"/srv/a",))
    assert _tick(estate) == 0
    for _ in range(8):
        estate.forward(days=1)
        estate.end(estate.backup(set_id), problems=(b"/srv/a",))
        _tick(estate)
    assert len(hook.requests) == 1
    assert "for 7 days or longer: /srv/a" in _said(hook)["raised"][0]


def test_several_processes_send_once(estate: Estate, control: Control, hook: HttpReceiver) -> None:
    """However many processes look for something to send, each message is sent once."""
    _channel(control, hook)
    with control.database.begin() as db:
        alerts.set_limits(db, ADMIN, AlertLimits(message_seconds=0), now=control.clock())
    for number in range(3):
        _trouble(estate, f"s{number}")
        estate.look()
        threads = [threading.Thread(target=outbox.run, args=(control,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(hook.requests) == number + 1


def test_a_message_of_a_process_that_died_is_sent_by_another(
    estate: Estate, control: Control, hook: HttpReceiver
) -> None:
    """A lease that nobody ended runs out; then the message is sent."""
    _channel(control, hook)
    _trouble(estate, "s")
    estate.look()
    outbox.plan(control)
    with control.database.begin() as db:
        taken = db.scalars(select(Delivery)).one()
        taken.leased_until = control.clock().replace(minute=control.clock().minute + 2)
    assert outbox.run(control) == 0
    estate.forward(minutes=3)
    assert outbox.run(control) == 1


def test_channels_are_kept_through_the_api(client: TestClient, control: Control, hook: HttpReceiver) -> None:
    """Secrets go in and never come out, stay when left out, and are in no audit entry; tests are sent."""
    kinds = client.get("/api/v1/notification-channel-kinds").json()
    assert [kind["name"] for kind in kinds] == ["email", "webhook", "apprise"]
    target = {"url": f"http://127.0.0.1:{hook.port}/x", "secret": SECRET}
    wanted = {"name": "ops", "kind": "webhook", "target": target}
    made = client.post("/api/v1/notification-channels", json=wanted)
    assert made.status_code == 201
    path = f"/api/v1/notification-channels/{made.json()['id']}"
    assert client.post("/api/v1/notification-channels", json=wanted).status_code == 409
    target = {"url": f"http://127.0.0.1:{hook.port}/y", "secret": None}
    changed = client.patch(path, json={"target": target, "least_severity": "critical"})
    assert changed.json()["target"]["url"].endswith("/y")
    assert client.post(f"{path}/test").status_code == 200
    assert "X-Backstay-Signature" in hook.requests[0][1]
    hook.refusing = True
    failed = client.post(f"{path}/test")
    assert failed.status_code == 502
    assert "answered 503" in failed.json()["detail"]
    assert "answered 503" in client.get("/api/v1/notification-channels").json()[0]["last_error"]
    with control.database.read() as db:
        entries = db.scalars(select(AuditEntry)).all()
        seen = "".join(f"{entry.before}{entry.after}" for entry in entries)
        sealed = db.scalars(select(NotificationChannel.sealed_target)).one()
    assert [entry.action.split(".")[1] for entry in entries] == ["create", "change", "test", "test"]
    assert SECRET not in seen + made.text + changed.text + failed.text
    assert SECRET.encode() not in sealed
    assert client.delete(path).status_code == 204
    assert client.get(path).status_code == 404


def test_the_command_line_keeps_channels_and_alerts(
    serving: Serving,
    hook: HttpReceiver,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Channels are made, tried, changed and removed, alerts listed and taken on, as through the API."""
    monkeypatch.setenv("BACKSTAY_CONFIG", str(tmp_path / "config"))
    monkeypatch.setenv("BACKSTAY_TOKEN", token_for(serving.control, Role.ADMINISTRATOR))
    assert main(["login", serving.url, "--fingerprint", serving.fingerprint]) == 0
    target = tmp_path / "target.json"
    target.write_text(json.dumps({"url": f"http://127.0.0.1:{hook.port}/cli", "secret": SECRET}))
    assert main(["channels", "create", "ops", "--kind", "webhook", "--target", str(target)]) == 0
    assert main(["channels", "test", "ops"]) == 0
    assert hook.requests[0][0] == "/cli"
    hook.refusing = True
    assert main(["channels", "test", "ops"]) == 1
    assert main(["channels"]) == 3
    assert "answered 503" in capsys.readouterr().out
    assert main(["channels", "change", "ops", "--disable", "--severity", "critical"]) == 0
    assert main(["channels", "list"]) == 0
    assert main(["channels", "remove", "ops"]) == 0
    assert main(["channels", "remove", "ops"]) == 1
    target.write_text("[]")
    assert main(["channels", "create", "x", "--kind", "webhook", "--target", str(target)]) == 2

    with serving.control.database.begin() as db:
        now = serving.control.clock()
        row = AlertRow(
            kind="missed",
            severity="critical",
            subject="set:1",
            text="fs1: data was not backed up",
            hint="back up",
            raised_at=now,
            last_seen_at=now,
        )
        db.add(row)
        db.flush()
        number = row.id
    capsys.readouterr()
    assert main(["alerts", "--severity", "critical"]) == 3
    assert "fs1: data was not backed up" in capsys.readouterr().out
    assert main(["alerts", "acknowledge", str(number)]) == 0
    assert main(["alerts", "show", str(number), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert shown["acknowledged_by"]
    assert SECRET not in str(shown)
