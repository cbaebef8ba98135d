"""Alerts: what needs a person now, and what did."""

from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.responses import Response

from backstay.server import alerts
from backstay.server.access import Permission
from backstay.server.web.visit import PageRoute, Visit, changing, seeing

router = APIRouter(route_class=PageRoute, include_in_schema=False, prefix="/alerts")

_PAGE = 50
_TITLES = {
    "missed": "Backup missed",
    "failed": "Backup failed",
    "incomplete": "Backup incomplete",
    "agent_silent": "Agent silent",
    "clock_wrong": "Clock wrong",
    "two_agents": "Two agents with one identity",
    "storage_filling": "Storage filling",
    "damage": "Damage found",
    "set_uncovered": "Set without a policy",
    "policy_protects_nothing": "Policy protects nothing",
    "certificate_expiring": "Certificate expiring",
    "disk_filling": "Disk filling",
    "audit_broken": "Audit log tampered with",
    "channel_failing": "Notifications not sent",
}


@router.get("")
def list_them(
    visit: Annotated[Visit, Depends(seeing(Permission.VIEW))], past: bool = False, before: int | None = None
) -> Response:
    """Those that are active, or those that were."""
    with visit.control.database.read() as db:
        rows, total = alerts.list_alerts(db, active=not past, limit=_PAGE, before=before)
    return visit.page(
        "alerts.html",
        here="alerts",
        rows=rows,
        total=total,
        past=past,
        before=before,
        last=rows[-1].id if len(rows) == _PAGE else None,
        titles=_TITLES,
    )


@router.post("/{alert_id}/acknowledge")
def acknowledge(visit: Annotated[Visit, Depends(changing(Permission.RUN))], alert_id: int) -> Response:
    """Take it on: it is not sent again."""
    with visit.control.database.begin() as db:
        alerts.acknowledge(db, visit.actor, alert_id, now=visit.now)
    return visit.go("/alerts", "You have taken it on")
