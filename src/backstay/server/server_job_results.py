"""What jobs that servers run are told, and what becomes of what they found."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from backstay.domain.job import JobKind
from backstay.domain.size import format_size
from backstay.protocol.report import ProblemReport
from backstay.repository.manifest import read_expiries
from backstay.server import audit, reconcile
from backstay.server.access import SYSTEM
from backstay.server.control import Control
from backstay.server.tables import JobRow, PackRow, RestorePointRow

_MOST_PROBLEMS = 10_000


@dataclass(frozen=True)
class Conclusion:
    """How a job ended, as protocol.report.Outcome has it."""

    state: str
    reason: str = ""
    hint: str = ""
    figures: dict[str, Any] = field(default_factory=dict)
    problems: list[ProblemReport] = field(default_factory=list)
    problem_count: int = 0
    messages: list[str] = field(default_factory=list)


def request_of(db: Session, job: JobRow) -> dict[str, Any]:
    """What the worker is told: the job's request, and what only the catalogue knows."""
    request = dict(job.request)
    if job.kind == JobKind.DRILL.value and "points" not in request:
        rows = db.execute(
            select(RestorePointRow.backup_set_id, RestorePointRow.id)
            .where(RestorePointRow.repository_id == job.repository_id, RestorePointRow.expired_at.is_(None))
            .order_by(RestorePointRow.committed_at)
        )
        # Of each set the newest is the last, and stays.
        newest = dict(rows.all())
        request["points"] = sorted(newest.values())
    return request


def conclude(
    control: Control,
    kind: JobKind,
    repository_id: str,
    request: Mapping[str, Any],
    result: Mapping[str, Any],
    beat: Callable[[], object],
) -> Conclusion:
    """Take in what the worker found.

    Args:
        request: as `request_of`, and `started_at`, when the job began (ISO 8601).
        beat: called now and then, to keep the lease.
    """
    if kind is JobKind.VERIFY:
        return _verified(control, repository_id, request, result)
    if kind is JobKind.PRUNE:
        return _pruned(control, repository_id, request, result, beat)
    return _drilled(control, result)


def _verified(
    control: Control, repository_id: str, request: Mapping[str, Any], result: Mapping[str, Any]
) -> Conclusion:
    whole = request.get("data_percent", 0.0) >= 100
    with control.database.begin() as db:
        lost = _lost_points(db, repository_id, datetime.fromisoformat(request["started_at"]), result)
        touched = [*result["points"], *lost]
        names = _name_points(db, touched)
        _mark_points(db, repository_id, touched, result["present"], control.clock(), whole=whole)
        for digest in result["damaged_packs"]:
            row = db.get(PackRow, (repository_id, digest))
            if row is not None:
                row.damaged = True
    problems = [
        ProblemReport(path=path, reason=f"damaged in restore point {point[:10]} ({names.get(point, '')})")
        for point, path, _ in result["files"][:_MOST_PROBLEMS]
    ]
    messages = [f"{name} is damaged: {why}" for name, why in result["damages"][:200]]
    messages += [f"the manifest of restore point {point[:10]} ({names[point]}) is gone" for point in lost]
    messages += [f"touched: restore point {point[:10]} ({names.get(point, '')})" for point in touched[:200]]
    figures = {
        "damages": result["damage_count"] + len(lost),
        "restore_points_damaged": len(touched),
        "files_damaged": len(result["files"]),
        "packs_read": result["packs"],
        "bytes_read": result["pack_bytes"],
        "blobs": result["blobs"],
        "condemned_packs": result["condemned_packs"],
        "points": touched[:1000],
    }
    found = result["damage_count"] + len(lost)
    if not found:
        return Conclusion("succeeded", figures=figures, messages=[*messages, *result["notes"]])
    return Conclusion(
        "failed",
        reason=f"damage was found: {found} objects, touching {len(touched)} restore points",
        hint="back up the sets that are touched again: what their file servers still have is stored anew",
        figures=figures,
        problems=problems,
        problem_count=len(result["files"]),
        messages=[*messages, *result["notes"]],
    )


def _lost_points(db: Session, repository_id: str, began: datetime, result: Mapping[str, Any]) -> list[str]:
    """Points that the catalogue knew before the job began, and the repository has no more."""
    known = db.scalars(
        select(RestorePointRow.id).where(
            RestorePointRow.repository_id == repository_id,
            RestorePointRow.expired_at.is_(None),
            RestorePointRow.committed_at < began,
        )
    )
    return sorted(set(known) - set(result["present"]))


def _name_points(db: Session, points: list[str]) -> dict[str, str]:
    named: dict[str, str] = {}
    for point in points:
        row = db.get(RestorePointRow, point)
        if row is not None:
            where = f"{row.file_server.name}/{row.backup_set.name}"
            named[point] = f"{where} of {row.committed_at:%Y-%m-%d %H:%M} UTC"
    return named


def _mark_points(
    db: Session, repository_id: str, touched: list[str], present: list[str], now: datetime, *, whole: bool
) -> None:
    for point in touched:
        row = db.get(RestorePointRow, point)
        if row is not None:
            row.damaged = True
    db.flush()
    if whole:
        # All content was read: what is not touched is sound, also where it was not before.
        sound = set(present) - set(touched)
        rows = db.scalars(select(RestorePointRow).where(RestorePointRow.repository_id == repository_id))
        for row in rows:
            if row.id in sound:
                row.damaged, row.verified_at = False, now


def _pruned(
    control: Control,
    repository_id: str,
    request: Mapping[str, Any],
    result: Mapping[str, Any],
    beat: Callable[[], object],
) -> Conclusion:
    figures = {key: value for key, value in result.items() if key not in {"notes", "expired", "present"}}
    figures["expired_points"] = len(result["expired"])
    figures["expired"] = result["expired"][:1000]
    messages = list(result["notes"])
    with control.database.read() as db:
        names = _name_points(db, result["expired"])
    verb = "would be taken out" if result["dry_run"] else "was taken out"
    messages += [f"restore point {point[:10]} ({names.get(point, '')}) {verb}" for point in result["expired"]]
    freed = format_size(result["freed_bytes"])
    messages.append(
        f"{len(result['expired'])} restore points, {result['condemned_packs']} packs given up, "
        f"{result['rewritten_packs']} rewritten: {freed} to be freed"
    )
    if not result["dry_run"]:
        given_up = _note_given_up(control, repository_id, request, result)
        messages += [
            f"restore point {point[:10]} is gone: its backup had been given up" for point in given_up
        ]
        found = reconcile.reconcile_packs(control, repository_id, beat=beat)
        figures |= {"packs_forgotten": found.gone, "packs_found": found.new}
    return Conclusion("succeeded", figures=figures, messages=messages)


def _note_given_up(
    control: Control, repository_id: str, request: Mapping[str, Any], result: Mapping[str, Any]
) -> list[str]:
    """Mark points that prune took out although nobody let them go: of sessions that had been given up.

    Such a session was silent for a day, woke up, and put its manifest after all.
    """
    began = datetime.fromisoformat(request["started_at"])
    with control.database.read() as db:
        lost = set(_lost_points(db, repository_id, began, result))
    if not lost:
        return []
    repository = control.repositories.get(repository_id)
    taken_out = {
        point.id.hex()
        for expiry in read_expiries(repository.storage, repository.secrets.catalogue_key)
        for point in expiry.points
    }
    given_up = sorted(lost & taken_out)
    reason = "its backup was silent for so long that it had been given up"
    with control.database.begin() as db:
        for point in given_up:
            row = db.get_one(RestorePointRow, point)
            row.expired_at, row.expired_reason = control.clock(), reason
        if given_up:
            after = dict.fromkeys(given_up, reason)
            audit.record(
                db,
                SYSTEM,
                "restore_point.expire",
                f"{len(given_up)} points",
                now=control.clock(),
                after=after,
            )
    return given_up


def _drilled(control: Control, result: Mapping[str, Any]) -> Conclusion:
    failures = result["failures"]
    figures = {key: result[key] for key in ("points", "files", "bytes")} | {
        "failures": result["failure_count"]
    }
    bad = sorted({point for point, _, _ in failures} | set(result["missing_points"]))
    if not bad:
        return Conclusion("succeeded", figures=figures)
    with control.database.begin() as db:
        db.execute(update(RestorePointRow).where(RestorePointRow.id.in_(bad)).values(damaged=True))
    problems = [
        ProblemReport(path=path, reason=f"in restore point {point[:10]}: {why}")
        for point, path, why in failures
    ]
    return Conclusion(
        "failed",
        reason=f"{result['failure_count']} files cannot be restored, of {result['files']} that were tried",
        hint="run a full verify to find all damage, and back up the sets that are touched",
        figures=figures,
        problems=problems,
        problem_count=result["failure_count"],
    )
