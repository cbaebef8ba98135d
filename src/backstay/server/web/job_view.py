"""A job as a page shows it: its steps with words and figures, whether they have come yet or not."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from backstay.domain.job import JobKind, JobState
from backstay.server.tables import JobRow
from backstay.server.web.display import counted, shown_duration, shown_name, shown_rate, shown_size

_BACKUP_STEPS = (
    ("request", "Request"),
    ("type", "Type"),
    ("recovery point / scan", "Recovery point and scan"),
    ("estimate", "Estimate"),
    ("transmit", "Transmit"),
    ("clean up", "Clean up"),
)
_KINDS = {
    JobKind.BACKUP: ("Backup", "cloud-upload"),
    JobKind.RESTORE: ("Restore", "history"),
    JobKind.VERIFY: ("Verify", "shield-check"),
    JobKind.PRUNE: ("Prune", "recycle"),
    JobKind.DRILL: ("Drill", "rotate-clockwise"),
}
_TRIGGERS = {
    "schedule": "by its schedule",
    "administrator": "by hand",
    "retry": "as a new attempt",
    "restart": "after a restart",
}


@dataclass(frozen=True)
class StepView:
    """One step.

    Attributes:
        state: pending, running, done, failed, cancelled, aborted or skipped.
        lines: what it told, and its figures in words.
        share: how much of it is done, from 0 to 1; None where that is not known or of no interest.
        seconds: how long it took; None where it is not over.
    """

    label: str
    state: str
    lines: tuple[str, ...] = ()
    share: float | None = None
    started_at: datetime | None = None
    seconds: float | None = None


def kind_label(kind: str) -> str:
    """ "Backup", "Restore", ..."""
    return _KINDS[JobKind(kind)][0]


def kind_icon(kind: str) -> str:
    """The icon of a kind of job."""
    return _KINDS[JobKind(kind)][1]


def trigger_label(job: JobRow) -> str:
    """What asked for it: "by hand, maria"."""
    words = _TRIGGERS.get(job.trigger, job.trigger)
    return f"{words}, {job.requested_by}" if job.trigger == "administrator" and job.requested_by else words


def subject_of(job: JobRow) -> str:
    """What it is about: a set, a restore point, or a repository."""
    if job.backup_set is not None:
        return job.backup_set.name
    if job.restore_point_id:
        return f"from {job.restore_point_id[:12]}"
    return "storage"


def steps_of(job: JobRow) -> list[StepView]:
    """The steps so far; of a backup also those that are to come."""
    told: dict[str, Mapping[str, Any]] = {str(step.get("name", "")): step for step in job.steps}
    known = _BACKUP_STEPS if job.kind == JobKind.BACKUP else ()
    over = JobState(job.state).ended
    views = []
    for name, label in known:
        step = told.pop(name, None)
        if step is not None:
            views.append(_view(label, step, job))
        else:
            views.append(StepView(label, "skipped" if over else "pending"))
    views += [_view(name.capitalize(), step, job) for name, step in told.items()]
    return views


def _view(label: str, step: Mapping[str, Any], job: JobRow) -> StepView:
    started, ended = int(step.get("started_ns") or 0), step.get("ended_ns")
    state = str(step.get("state", "pending"))
    lines = [shown_name(str(text)) for text in step.get("messages") or ()][:6]
    lines += _figures(step.get("figures") or {})
    share = None
    if state == "running":
        lines += _going(str(step.get("name", "")), job)
        share = share_of(job) if job.progress.get("step") == step.get("name") else None
    return StepView(
        label,
        state,
        tuple(lines),
        share,
        datetime.fromtimestamp(started / 1e9, UTC) if started else None,
        (int(ended) - started) / 1e9 if ended and started else None,
    )


def _figures(figures: Mapping[str, Any]) -> list[str]:
    words = []
    if "files" in figures:
        found = [counted(int(figures["files"]), "file")]
        if "folders" in figures:
            found.append(counted(int(figures["folders"]), "folder"))
        if "bytes" in figures:
            found.append(shown_size(figures["bytes"]))
        words.append(", ".join(found))
    if "changed_files" in figures:
        size = shown_size(figures.get("changed_bytes"))
        words.append(f"{counted(int(figures['changed_files']), 'file')} new or changed, {size}")
    if figures.get("excluded"):
        words.append(f"{counted(int(figures['excluded']), 'entry', 'entries')} left out by the content rule")
    if figures.get("stored_bytes"):
        words.append(f"{shown_size(figures['stored_bytes'])} stored")
    if figures.get("seconds"):
        words.append(f"about {shown_duration(float(figures['seconds']))}")
    if figures.get("problems"):
        words.append(counted(int(figures["problems"]), "problem"))
    return words


def _going(name: str, job: JobRow) -> list[str]:
    progress = job.progress
    if progress.get("step") != name:
        return []
    words = []
    if progress.get("expected_bytes"):
        words.append(f"{shown_size(progress.get('bytes'))} of {shown_size(progress['expected_bytes'])}")
    elif progress.get("files"):
        words.append(f"{counted(int(progress['files']), 'file')}, {shown_size(progress.get('bytes'))} so far")
    if progress.get("bytes_per_second"):
        words.append(shown_rate(progress["bytes_per_second"]))
    if progress.get("seconds_left") is not None:
        words.append(f"{shown_duration(float(progress['seconds_left']))} left")
    return [", ".join(words)] if words else []


def share_of(job: JobRow) -> float | None:
    """How much of the running step is done, from 0 to 1."""
    expected = job.progress.get("expected_bytes") or 0
    files = job.progress.get("expected_files") or 0
    if expected:
        return min(float(job.progress.get("bytes") or 0) / expected, 1.0)
    return min(float(job.progress.get("files") or 0) / files, 1.0) if files else None


def figures_of(job: JobRow) -> list[tuple[str, str]]:
    """What it did, as facts."""
    figures = job.figures if job.kind != JobKind.RESTORE.value else {}
    facts = []
    for name, label in (
        ("bytes", "Protected"),
        ("read_bytes", "Read"),
        ("new_bytes", "New"),
        ("stored_bytes", "Stored"),
    ):
        if isinstance(figures.get(name), int | float):
            facts.append((label, shown_size(figures[name])))
    if isinstance(figures.get("files"), int):
        facts.insert(0, ("Files", f"{figures['files']:,}"))
    return facts


def current_path(job: JobRow) -> bytes:
    """The file that is being read."""
    try:
        return base64.b64decode(job.progress.get("path") or "")
    except ValueError:
        return b""


@dataclass(frozen=True)
class RestoreReport:
    """What a restore has written, or would write.

    Attributes:
        verified: files that were read again afterwards; None where none were.
    """

    dry_run: bool
    target: bytes
    facts: tuple[tuple[str, str], ...]
    verified: int | None
    original: bytes = b"/"


def report_of(job: JobRow) -> RestoreReport | None:
    """The report of a restore that is over; None of any other job."""
    figures = job.figures
    if job.kind != JobKind.RESTORE.value or not figures:
        return None
    dry_run = bool(figures.get("dry_run"))
    before = "planned_" if dry_run else ""
    facts = [
        (label, f"{int(figures[before + name]):,}")
        for name, label in (
            ("files", "Files"),
            ("folders", "Folders"),
            ("links", "Links"),
            ("others", "Others"),
        )
        if figures.get(before + name)
    ]
    facts.append(("Content", shown_size(figures.get(f"{before}bytes"))))
    facts += [
        (label, f"{int(figures[name]):,}")
        for name, label in (
            ("planned_replaced", "Overwritten"),
            ("planned_skipped", "Left as they are"),
            ("planned_renamed", "Beside what exists"),
            ("planned_without_content", "Without content"),
        )
        if figures.get(name)
    ]
    verified = int(figures.get("verified", -1))
    return RestoreReport(
        dry_run,
        base64.b64decode(job.request.get("target", "")),
        tuple(facts),
        verified if verified >= 0 else None,
    )
