"""The audit log."""

from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Depends
from starlette.responses import Response

from backstay.server import audit_check, audit_log
from backstay.server.access import Permission
from backstay.server.web.visit import PageRoute, Visit, seeing

router = APIRouter(route_class=PageRoute, include_in_schema=False, prefix="/audit")

_PAGE = 100


@router.get("")
def list_them(
    visit: Annotated[Visit, Depends(seeing(Permission.AUDIT))],
    who: str = "",
    subject: str = "",
    action: str = "",
    before: int | None = None,
) -> Response:
    """Who changed what, the newest first."""
    wanted = audit_log.AuditFilter(who=who.strip(), subject=subject.strip(), action=action.strip())
    with visit.control.database.read() as db:
        rows = audit_log.list_entries(db, wanted, below=before, limit=_PAGE)
    kept = {name: value for name, value in (("who", who), ("subject", subject), ("action", action)) if value}
    older = {**kept, "before": rows[-1].number} if len(rows) == _PAGE else None
    return visit.page(
        "audit.html",
        here="audit",
        rows=rows,
        kept=kept,
        newest="/audit?" + urlencode(kept) if before else "",
        more="/audit?" + urlencode(older) if older else "",
    )


@router.get("/verify")
def verify(visit: Annotated[Visit, Depends(seeing(Permission.AUDIT))]) -> Response:
    """Whether every entry is as it was written."""
    with visit.control.database.read() as db:
        found = audit_check.verify(db, visit.control.key)
    if not found.findings:
        return visit.go("/audit", f"All {found.entries:,} entries are as they were written")
    first = found.findings[0]
    return visit.go(
        "/audit",
        f"The audit log was tampered with at entry {first.number}: {first.what}",
        tone="bad",
        hint="Compare with a copy of the database from before, and find out who could write to it.",
    )
