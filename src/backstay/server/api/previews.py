"""Previews: what a draft would do, before it is kept; and what no set covers."""

import stat
from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field

from backstay.domain import coverage as domain_coverage
from backstay.domain.coverage import Coverage
from backstay.domain.entry import FileStat
from backstay.domain.errors import UsageError
from backstay.domain.time_zone import time_zone
from backstay.protocol.policy_document import PolicyValues, RetentionDocument, Zone
from backstay.server import previews
from backstay.server.api.content_rules import RuleText
from backstay.server.api.dependencies import ControlDep, Viewer
from backstay.server.api.fields import Body, Moment, Number, PathView, Reference
from backstay.server.api.paths import PathInput, path_bytes
from backstay.server.backup_sets import get_backup_set
from backstay.server.coverage import coverage_of
from backstay.server.fleet import get_file_server
from backstay.server.policies import policy_with
from backstay.server.retention import plan_set

router = APIRouter(tags=["previews"])


class RunsWanted(Body):
    """A draft of a policy, whose next times are wanted."""

    values: PolicyValues = Field(description="what is absent is as the set has it, or built in")
    backup_set_id: Number | None = Field(default=None, description="try it on this set")
    time_zone: Zone = "UTC"
    count: Annotated[int, Field(ge=1, le=100)] = 10
    after: Moment | None = Field(default=None, description="by default now")


class RunView(BaseModel):
    """A scheduled time that asks for a backup."""

    scheduled_for: datetime
    begins: datetime = Field(description="then, or when the window opens")
    window_closes: datetime | None
    local: str = Field(description="when it begins, in the chosen time zone: 2026-11-25 22:00 CET")


class RunList(BaseModel):
    """The next scheduled times; none, where backups are by hand only."""

    items: list[RunView]


class RetentionWanted(Body):
    """A draft of a retention, to be tried on the restore points of a set."""

    backup_set_id: Number
    retention: RetentionDocument


class PointVerdictView(BaseModel):
    """Whether a restore point stays, and all reasons for that."""

    restore_point: str
    committed_at: datetime
    held: bool
    complete: bool
    keep: bool
    reasons: list[str]


class RetentionPreview(BaseModel):
    """What a retention would make of a set's restore points, the newest first."""

    kept: int
    expired: int
    items: list[PointVerdictView]


class ExplainWanted(Body):
    """A path, and a draft of a content rule that is to judge it."""

    path: PathInput
    text: RuleText = ""
    default_rules: bool = True
    system: Literal["linux", "windows"] = "linux"
    is_folder: bool = False
    size: Annotated[int, Field(ge=0, le=2**63 - 1)] | None = Field(
        default=None, description="of the file, for rules about size"
    )
    modified: Moment | None = Field(default=None, description="for rules about age; by default now")


class RuleRef(BaseModel):
    """The line that decided."""

    text: str
    origin: str
    comment: str


class PathVerdict(PathView):
    """What a rule says of one path."""

    included: bool
    reason: str
    rule: RuleRef | None


class Explanation(BaseModel):
    """Verdicts from the top down to the first that is left out; the last one is the path's own."""

    included: bool
    items: list[PathVerdict]


class CoverageView(BaseModel):
    """A place on a file server, and how it is protected."""

    path: str
    coverage: Coverage
    sets: list[Reference]
    reason: str = Field(description="why it is left out, where it is")
    name: str = Field(default="", description="of a share")
    filesystem: str = ""
    bytes: int | None = None
    used: int | None = None


class CoverageReportView(BaseModel):
    """What the agent found on its file server, and how it is protected by the sets that are switched on."""

    reported: bool = Field(description="whether the agent has said what there is")
    volumes: list[CoverageView]
    folders: list[CoverageView]
    shares: list[CoverageView]


@router.post("/previews/runs")
def preview_runs(control: ControlDep, actor: Viewer, wanted: RunsWanted) -> RunList:
    """When a draft of a policy would back up next."""
    zone = time_zone(wanted.time_zone)
    with control.database.read() as db:
        row = get_backup_set(db, wanted.backup_set_id) if wanted.backup_set_id is not None else None
        policy = policy_with(row, wanted.values)
    runs = previews.next_backups(policy, wanted.after or control.clock(), wanted.count)
    items = []
    for run in runs:
        begins = run.not_before or run.scheduled_for
        items.append(
            RunView(
                scheduled_for=run.scheduled_for,
                begins=begins,
                window_closes=run.not_after,
                local=f"{begins.astimezone(zone):%Y-%m-%d %H:%M %Z}",
            )
        )
    return RunList(items=items)


@router.post("/previews/retention")
def preview_retention(control: ControlDep, actor: Viewer, wanted: RetentionWanted) -> RetentionPreview:
    """Which restore points of a set a draft of a retention would keep, and why."""
    policy = PolicyValues(retention=wanted.retention).policy().retention
    with control.database.read() as db:
        backup_set = get_backup_set(db, wanted.backup_set_id)
        decisions = plan_set(db, backup_set, control.clock(), policy=policy).decisions
    items = [
        PointVerdictView(
            restore_point=one.row.id,
            committed_at=one.row.committed_at,
            held=bool(one.row.held_by),
            complete=not one.row.problems,
            keep=one.keep,
            reasons=list(one.reasons),
        )
        for one in decisions
    ]
    kept = sum(one.keep for one in items)
    return RetentionPreview(kept=kept, expired=len(items) - kept, items=items)


@router.post("/previews/explain")
def preview_rule(control: ControlDep, actor: Viewer, wanted: ExplainWanted) -> Explanation:
    """What a draft of a content rule says of a path, and of each folder above it."""
    now = control.clock()
    path = path_bytes(wanted.path)
    modified_ns = int((wanted.modified or now).timestamp() * 1e9)
    mode = stat.S_IFDIR if wanted.is_folder else stat.S_IFREG
    known = wanted.size is not None or wanted.modified is not None
    seen = (
        FileStat(path.rpartition(b"/")[2], mode, wanted.size or 0, modified_ns, modified_ns, 0, 0, 0, 1)
        if known
        else None
    )
    windows = wanted.system == "windows"
    if not windows and not path.startswith(b"/"):
        raise UsageError("the path is not absolute", hint="write it from the root: /srv/data")
    verdicts = previews.explain(
        wanted.text,
        path,
        windows=windows,
        with_default_rules=wanted.default_rules,
        is_folder=wanted.is_folder or path.endswith((b"/", b"\\")),
        stat=seen,
        now=now,
    )
    items = [
        PathVerdict(
            **PathView.of(above if windows else b"/" + above).model_dump(),
            included=verdict.included,
            reason=verdict.reason,
            rule=RuleRef(
                text=verdict.rule.text.decode(errors="backslashreplace"),
                origin=verdict.rule.origin,
                comment=verdict.rule.comment,
            )
            if verdict.rule
            else None,
        )
        for above, verdict in verdicts
    ]
    return Explanation(included=items[-1].included, items=items)


@router.get("/file-servers/{file_server_id}/coverage")
def get_coverage(control: ControlDep, actor: Viewer, file_server_id: Number) -> CoverageReportView:
    """Which volumes, top folders and shares of a file server its backup sets cover, and which nobody does."""
    with control.database.read() as db:
        report = coverage_of(db, get_file_server(db, file_server_id), control.clock())
    names = {row.id: row.name for row in report.sets}

    def view(path: str, verdict: domain_coverage.Verdict, **more: str | int) -> CoverageView:
        sets = [Reference(id=number, name=names[number]) for number in verdict.sets]
        return CoverageView.model_validate(
            {"path": path, "coverage": verdict.coverage, "sets": sets, "reason": verdict.reason, **more}
        )

    return CoverageReportView(
        reported=report.reported,
        volumes=[
            view(one.path, verdict, filesystem=one.filesystem, bytes=one.bytes, used=one.used)
            for one, verdict in report.volumes
        ],
        folders=[view(one.path, verdict) for one, verdict in report.folders],
        shares=[view(one.path, verdict, name=one.name) for one, verdict in report.shares],
    )
