"""`backstay repo prune`: retention, then garbage collection."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from backstay.cli import options
from backstay.cli.output import Output

if TYPE_CHECKING:
    from backstay.domain.retention import Decision, PointInTime
    from backstay.repository.manifest import RestorePoint
    from backstay.repository.prune import PruneOutcome

_DAY_HOURS = 24.0


@click.command("prune")
@options.location
@click.option("--keep-days", type=click.IntRange(0), default=0, metavar="N", help="All points of N days.")
@click.option("--keep-daily", type=click.IntRange(0), default=0, metavar="N", help="One for each of N days.")
@click.option(
    "--keep-weekly", type=click.IntRange(0), default=0, metavar="N", help="One for each of N weeks."
)
@click.option(
    "--keep-monthly", type=click.IntRange(0), default=0, metavar="N", help="One for each of N months."
)
@click.option(
    "--keep-yearly", type=click.IntRange(0), default=0, metavar="N", help="One for each of N years."
)
@click.option("--time-zone", default="UTC", metavar="ZONE", help="Where days begin: Europe/Berlin, UTC.")
@click.option(
    "--grace-hours",
    type=click.FloatRange(0),
    default=_DAY_HOURS,
    metavar="HOURS",
    show_default=True,
    help="How long what is not needed any more stays, for whoever still reads it.",
)
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@options.passphrase_file
@options.as_json
def command(
    location: str,
    keep_days: int,
    keep_daily: int,
    keep_weekly: int,
    keep_monthly: int,
    keep_yearly: int,
    time_zone: str,
    grace_hours: float,
    dry_run: bool,
    passphrase_file: Path | None,
    as_json: bool,
) -> int:
    """Take out the restore points that no --keep option covers, and free what only they needed.

    Of each backup set the newest restore point always stays, and the newest complete one.
    """
    from backstay.cli.opening import open_repository
    from backstay.domain.retention import RetentionPolicy, plan
    from backstay.repository.prune import run_prune

    output = Output(as_json=as_json)
    policy = RetentionPolicy(keep_days, keep_daily, keep_weekly, keep_monthly, keep_yearly, time_zone)
    repository = open_repository(location, output, passphrase_file=passphrase_file)

    def expire(points: "list[RestorePoint]") -> "Sequence[RestorePoint]":
        decisions = plan([_as_retention_sees(point) for point in points], policy, datetime.now(UTC))
        _tell_decisions(decisions, points, output)
        gone = {decision.point.id for decision in decisions if not decision.keep}
        return [point for point in points if point.id.hex() in gone]

    def tell(text: str) -> None:
        output.event("message", {"text": text})
        output.line(text)

    outcome = run_prune(repository, expire, grace_seconds=grace_hours * 3600, dry_run=dry_run, tell=tell)
    _tell_outcome(outcome, output, dry_run)
    return 0


def _as_retention_sees(point: "RestorePoint") -> "PointInTime":
    from backstay.domain.retention import PointInTime

    manifest = point.manifest
    return PointInTime(
        point.id.hex(),
        f"{manifest.file_server}/{manifest.backup_set}",
        datetime.fromtimestamp(manifest.time_ns / 1e9, UTC),
        complete=not manifest.problems,
    )


def _tell_decisions(decisions: "list[Decision]", points: "list[RestorePoint]", output: Output) -> None:
    from backstay.cli.text import local_time, shown, table

    by_id = {point.id.hex(): point for point in points}
    rows = []
    for decision in decisions:
        point = by_id[decision.point.id]
        fields = {"id": decision.point.id, "set": decision.point.set, "keep": decision.keep}
        output.event("decision", {**fields, "reasons": decision.reasons})
        stays = "stays" if decision.keep else "goes"
        reasons = "; ".join(decision.reasons)
        rows.append(
            (point.short_id, local_time(point.manifest.time_ns), shown(decision.point.set), stays, reasons)
        )
    output.line(table(("POINT", "TIME", "SET", "", "WHY"), rows) if rows else "no restore points yet")


def _tell_outcome(outcome: "PruneOutcome", output: Output, dry_run: bool) -> None:
    from backstay.cli.text import counted, shown, size

    plan_made = outcome.plan
    fields = {
        "dry_run": dry_run,
        "expired": [point.id.hex() for point in outcome.expired],
        "condemned_packs": len(plan_made.condemn) if plan_made else 0,
        "rewritten_packs": len(plan_made.rewrite) if plan_made else 0,
        "freed_bytes": plan_made.freed_bytes if plan_made else 0,
        "moved_bytes": outcome.moved_bytes,
        "deleted_packs": outcome.deleted_packs,
        "deleted_bytes": outcome.deleted_bytes,
        "waiting_packs": outcome.waiting_packs,
        "notes": outcome.notes,
    }
    output.event("result", fields)
    would = "would be " if dry_run else ""
    output.line(f"{counted(len(outcome.expired), 'restore point')} {would}taken out")
    if plan_made:
        output.line(
            f"{counted(len(plan_made.condemn), 'pack')} {would}given up, "
            f"{len(plan_made.rewrite):,} {would}rewritten: {size(plan_made.freed_bytes)} to be freed"
        )
    if outcome.deleted_packs:
        output.line(f"{counted(outcome.deleted_packs, 'pack')} deleted: {size(outcome.deleted_bytes)} freed")
    if outcome.waiting_packs:
        output.line(f"{counted(outcome.waiting_packs, 'pack')} to be deleted by a later prune")
    for note in outcome.notes:
        output.line(shown(note))
