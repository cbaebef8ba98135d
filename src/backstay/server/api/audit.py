"""The audit log: read, export, verify."""

from collections.abc import Iterator
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from fastapi.responses import StreamingResponse
from pydantic import AwareDatetime, BaseModel, Field

from backstay.server import audit_check
from backstay.server.api.dependencies import AuditReader, ControlDep
from backstay.server.audit_log import AuditFilter, every_entry, list_entries
from backstay.server.tables import AuditEntry

router = APIRouter(tags=["audit"])


class AuditEntryView(BaseModel):
    """One change. `digest` covers the entry and `previous`, the digest of the entry before it."""

    number: int
    at: AwareDatetime
    who: str
    address: str
    action: str
    subject: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    previous: str
    digest: str


class AuditPage(BaseModel):
    """Entries, the newest first."""

    items: list[AuditEntryView]
    next: int | None = Field(description="give it as `after` to see the next page, of older entries")


class FindingView(BaseModel):
    """Something that is not as it was written."""

    number: int = Field(description="of the first entry that it touches")
    what: str


class VerificationView(BaseModel):
    """Whether the log is what was written, as far as this server can be believed."""

    intact: bool
    entries: int
    head: str = Field(description="NUMBER:DIGEST of the newest entry: keep it elsewhere")
    findings: list[FindingView]


def _filter(
    who: Annotated[str, Query(max_length=255, description="a part of the name")] = "",
    subject: Annotated[str, Query(max_length=255, description="a part of it")] = "",
    action: Annotated[str, Query(max_length=64, description="how it begins")] = "",
    since: AwareDatetime | None = None,
    until: AwareDatetime | None = None,
) -> AuditFilter:
    return AuditFilter(who=who, subject=subject, action=action, since=since, until=until)


Wanted = Annotated[AuditFilter, Depends(_filter)]


@router.get("/audit")
def list_audit(
    control: ControlDep,
    actor: AuditReader,
    wanted: Wanted,
    after: Annotated[int | None, Query(ge=1, le=2**53)] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> AuditPage:
    """Entries, the newest first."""
    with control.database.read() as db:
        rows = list_entries(db, wanted, below=after, limit=limit)
    return AuditPage(items=[_view(row) for row in rows], next=rows[-1].number if len(rows) == limit else None)


@router.get("/audit/export", response_class=StreamingResponse)
def export_audit(control: ControlDep, actor: AuditReader, wanted: Wanted) -> StreamingResponse:
    """All entries as JSON lines, the oldest first, with their digests."""

    def lines() -> Iterator[str]:
        for row in every_entry(control.database, wanted):
            yield _view(row).model_dump_json() + "\n"

    headers = {"Content-Disposition": 'attachment; filename="backstay-audit.jsonl"'}
    return StreamingResponse(lines(), media_type="application/x-ndjson", headers=headers)


@router.get("/audit/verification")
def verify_audit(
    control: ControlDep,
    actor: AuditReader,
    head: Annotated[str, Query(max_length=100, description="of an earlier check, NUMBER:DIGEST")] = "",
) -> VerificationView:
    """Check the whole log. Without asking the server: `backstay audit verify --folder` where it runs."""
    expected = audit_check.parse_head(head) if head else None
    with control.database.read() as db:
        found = audit_check.verify(db, control.key, expected=expected)
    return VerificationView(
        intact=not found.findings,
        entries=found.entries,
        head=str(found.head),
        findings=[FindingView(number=one.number, what=one.what) for one in found.findings],
    )


def _view(row: AuditEntry) -> AuditEntryView:
    return AuditEntryView.model_validate(row, from_attributes=True)
