"""Alerts: list, look, acknowledge; and from when on something is one."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from backstay.server import alerts
from backstay.server.alerts import AlertKind, AlertLimits, Severity
from backstay.server.api.dependencies import ControlDep, Manager, Runner, Viewer

router = APIRouter(tags=["alerts"])

Number = Annotated[int, Field(ge=1, le=2**53)]


class AlertView(BaseModel):
    """Something that needs a person."""

    model_config = ConfigDict(from_attributes=True)
    id: int
    kind: AlertKind
    severity: Severity
    subject: str = Field(description="what it is about; kind and subject are one alert while the cause lasts")
    text: str
    hint: str
    file_server_id: int | None
    backup_set_id: int | None
    job_id: int | None
    raised_at: datetime
    resolved_at: datetime | None
    acknowledged_by: str
    acknowledged_at: datetime | None
    sent_at: datetime | None


class AlertList(BaseModel):
    """A page of alerts, the newest first."""

    total: int
    items: list[AlertView]
    next: int | None = Field(description="give it as `before` to see the next page")


@router.get("/alerts")
def list_alerts(
    control: ControlDep,
    actor: Viewer,
    active: Annotated[bool | None, Query(description="leave it out for both")] = None,
    kind: AlertKind | None = None,
    severity: Annotated[Severity | None, Query(description="as bad as this, or worse")] = None,
    file_server: Annotated[Number | None, Query()] = None,
    backup_set: Annotated[Number | None, Query()] = None,
    before: Annotated[Number | None, Query()] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> AlertList:
    """Alerts, the newest first."""
    with control.database.read() as db:
        rows, total = alerts.list_alerts(
            db,
            active=active,
            kind=kind,
            severity=severity,
            file_server_id=file_server,
            backup_set_id=backup_set,
            before=before,
            limit=limit,
        )
        items = [AlertView.model_validate(row) for row in rows]
    return AlertList(total=total, items=items, next=rows[-1].id if len(rows) == limit else None)


@router.get("/alerts/{alert_id}")
def get_alert(control: ControlDep, actor: Viewer, alert_id: Number) -> AlertView:
    """One alert."""
    with control.database.read() as db:
        return AlertView.model_validate(alerts.get_alert(db, alert_id))


@router.post("/alerts/{alert_id}/acknowledge")
def acknowledge(control: ControlDep, actor: Runner, alert_id: Number) -> AlertView:
    """Take it on: it is not sent again, and stays until its cause is gone."""
    with control.database.begin() as db:
        return AlertView.model_validate(alerts.acknowledge(db, actor, alert_id, now=control.clock()))


@router.get("/alert-limits")
def get_limits(control: ControlDep, actor: Viewer) -> AlertLimits:
    """From when on something is an alert."""
    with control.database.read() as db:
        return alerts.limits_of(db)


@router.put("/alert-limits")
def put_limits(control: ControlDep, actor: Manager, limits: AlertLimits) -> AlertLimits:
    """Change from when on something is an alert; what is left out takes its built-in value."""
    with control.database.begin() as db:
        return alerts.set_limits(db, actor, limits, now=control.clock())
