"""Settings: where alerts are sent, from when on something is one, and when storage is cared for."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends
from pydantic import ValidationError
from starlette.datastructures import FormData
from starlette.responses import Response

import backstay
from backstay.domain.errors import BackstayError, UsageError
from backstay.protocol.policy_document import ScheduleDocument
from backstay.server import alerts, upkeep_schedule
from backstay.server.access import Permission
from backstay.server.alert_checks.finding import AlertLimits, Severity
from backstay.server.notifications import channels
from backstay.server.notifications.registry import KINDS
from backstay.server.problems import status_of
from backstay.server.tls import fingerprint_of
from backstay.server.web.visit import PageRoute, SentForm, Visit, changing, seeing, text_of, texts_of

router = APIRouter(route_class=PageRoute, include_in_schema=False, prefix="/settings")

LIMITS = (
    ("missed_after_seconds", "A backup is missed", "minutes after its time", 60),
    ("silent_after_seconds", "An agent is silent", "minutes without a word", 60),
    ("clock_seconds", "A clock is wrong", "seconds off", 1),
    ("stale_days", "A file has no good copy", "days", 1),
    ("full_in_days", "Storage is full at this growth within", "days", 1),
    ("least_free_percent", "A disk has less free than", "percent", 1),
    ("certificate_days", "The certificate expires within", "days", 1),
    ("flapping_seconds", "What comes back is not told again within", "minutes", 60),
    ("message_seconds", "A channel gets one message in", "minutes at most", 60),
)


@router.get("")
def show(visit: Annotated[Visit, Depends(seeing(Permission.MANAGE))]) -> Response:
    """All of them."""
    return _page(visit)


def _page(
    visit: Visit, *, error: BackstayError | None = None, part: str = "", typed: FormData | None = None
) -> Response:
    settings = visit.control.settings
    with visit.control.database.read() as db:
        rows = channels.list_channels(db)
        limits = alerts.limits_of(db)
        schedules = upkeep_schedule.schedules(db)
    return visit.page(
        "settings.html",
        here="settings",
        status=status_of(error) if error else 200,
        channels=rows,
        kinds=KINDS,
        severities=[one.value for one in Severity],
        limits=[(name, words, unit, getattr(limits, name) / scale) for name, words, unit, scale in LIMITS],
        schedules=schedules,
        error=error,
        part=part,
        typed={name: str(value) for name, value in typed.items()} if typed else {},
        version=backstay.__version__,
        settings=settings,
        fingerprint=fingerprint_of(settings),
        database="SQLite" if visit.control.database.is_sqlite else "PostgreSQL",
    )


@router.post("/channels")
def create_channel(visit: Annotated[Visit, Depends(changing(Permission.MANAGE))], form: SentForm) -> Response:
    """Send alerts to another place."""
    kind = text_of(form, "kind")
    try:
        with visit.control.database.begin() as db:
            row = channels.create_channel(
                db,
                visit.actor,
                visit.control.key,
                now=visit.now,
                name=text_of(form, "name"),
                kind=kind,
                target=_target(form, kind),
                least_severity=_severity(form),
            )
    except BackstayError as error:
        return _page(visit, error=error, part="channel", typed=form)
    return visit.go("/settings", f"Alerts are sent to {row.name}")


def _target(form: FormData, kind: str) -> dict[str, Any]:
    if kind == "webhook":
        return {"url": text_of(form, "webhook_url"), "secret": str(form.get("webhook_secret", ""))}
    if kind == "apprise":
        return {"url": text_of(form, "apprise_url")}
    port = text_of(form, "port", "587")
    return {
        "host": text_of(form, "host"),
        "port": int(port) if port.isdecimal() and len(port) < 6 else 0,
        "security": text_of(form, "security", "starttls"),
        "user": text_of(form, "user"),
        "password": str(form.get("password", "")),
        "sender": text_of(form, "sender"),
        "recipients": [
            one.strip() for line in texts_of(form, "recipients") for one in line.split(",") if one.strip()
        ],
    }


def _severity(form: FormData) -> Severity:
    try:
        return Severity(text_of(form, "least_severity", "warning"))
    except ValueError:
        raise UsageError("there is no such severity", hint="choose one of the list") from None


@router.post("/channels/{channel_id}/test")
def test_channel(visit: Annotated[Visit, Depends(changing(Permission.MANAGE))], channel_id: int) -> Response:
    """Send a message now."""
    try:
        row = channels.send_test(visit.control, visit.actor, channel_id)
    except BackstayError as error:
        return visit.go("/settings", f"{error.what[:1].upper()}{error.what[1:]}", tone="bad", hint=error.hint)
    return visit.go("/settings", f"A message is on its way to {row.name}")


@router.post("/channels/{channel_id}/enabled")
def switch_channel(
    visit: Annotated[Visit, Depends(changing(Permission.MANAGE))], form: SentForm, channel_id: int
) -> Response:
    """Switch it off, or on again."""
    on = text_of(form, "enabled") == "true"
    with visit.control.database.begin() as db:
        row = channels.change_channel(
            db, visit.actor, visit.control.key, channel_id, now=visit.now, enabled=on
        )
    return visit.go("/settings", f"{row.name} is switched {'on' if on else 'off'}")


@router.post("/channels/{channel_id}/remove")
def remove_channel(
    visit: Annotated[Visit, Depends(changing(Permission.MANAGE))], form: SentForm, channel_id: int
) -> Response:
    """Send nothing there any more; its name must be typed."""
    with visit.control.database.begin() as db:
        row = channels.get_channel(db, channel_id)
        if text_of(form, "confirmation") != row.name:
            raise UsageError("the name that was typed is another one", hint="type it exactly as it is shown")
        channels.remove_channel(db, visit.actor, channel_id, now=visit.now)
    return visit.go("/settings", f"{row.name} is removed")


@router.post("/limits")
def set_limits(visit: Annotated[Visit, Depends(changing(Permission.MANAGE))], form: SentForm) -> Response:
    """From when on something is an alert."""
    try:
        limits = AlertLimits.model_validate(
            {name: int(float(text_of(form, name) or "x") * scale) for name, _, _, scale in LIMITS}
        )
        with visit.control.database.begin() as db:
            alerts.set_limits(db, visit.actor, limits, now=visit.now)
    except (ValueError, OverflowError) as error:
        first = error.errors()[0] if isinstance(error, ValidationError) else None
        where = str(first["loc"][0]).replace("_", " ") if first else "one of them"
        reason = first["msg"] if first else "it is no number"
        return _page(visit, error=UsageError(f"a limit cannot be so: {where}: {reason}"), part="limits")
    return visit.go("/settings", "The limits are changed")


@router.post("/upkeep")
def set_upkeep(visit: Annotated[Visit, Depends(changing(Permission.MANAGE))], form: SentForm) -> Response:
    """When the server cares for its storage."""
    zone = text_of(form, "time_zone") or "UTC"
    try:
        with visit.control.database.begin() as db:
            wanted = {
                name: ScheduleDocument(rule=rule, time_zone=zone) if (rule := text_of(form, name)) else None
                for name in upkeep_schedule.schedules(db)
            }
            upkeep_schedule.set_schedules(db, visit.actor, wanted, now=visit.now)
    except UsageError as error:
        return _page(visit, error=error, part="upkeep")
    return visit.go("/settings", "The times are changed")
