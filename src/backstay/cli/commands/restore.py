"""`backstay repo restore`: from a restore point back to files."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from backstay.cli import options
from backstay.cli.output import Output, path_fields
from backstay.cli.text import counted, local_time, shown, size

if TYPE_CHECKING:
    from backstay.restore.outcome import RestoreOutcome, RestoreProblem
    from backstay.restore.plan import RestorePlan

_SHOWN = 20


@click.command("restore")
@options.location
@options.point
@click.argument("paths", metavar="[PATH]...", nargs=-1)
@click.option(
    "--to",
    "target",
    metavar="DIR",
    required=True,
    help="The folder to restore into; / restores to the original place.",
)
@options.backup_set
@click.option(
    "--existing",
    type=click.Choice(["overwrite", "skip", "keep-both"]),
    help="What happens to what exists in DIR; without it DIR has to be empty.",
)
@click.option("--strip", is_flag=True, help="Put each PATH right into DIR, without the folders above it.")
@click.option("--no-permissions", is_flag=True, help="Leave owners, modes, ACLs and capabilities aside.")
@click.option("--numeric-ids", is_flag=True, help="Restore owners by number, not by name.")
@click.option("--dry-run", is_flag=True, help="Only say what would be written.")
@click.option("--no-verify", is_flag=True, help="Do not read everything again afterwards.")
@options.passphrase_file
@options.verbose
@options.as_json
def command(
    location: str,
    point: str,
    paths: tuple[str, ...],
    target: str,
    backup_set: str | None,
    existing: str | None,
    strip: bool,
    no_permissions: bool,
    numeric_ids: bool,
    dry_run: bool,
    no_verify: bool,
    passphrase_file: Path | None,
    verbose: bool,
    as_json: bool,
) -> int:
    """Restore POINT, or only the PATHs in it, into a folder, and verify what was written."""
    from backstay.cli.opening import open_repository
    from backstay.cli.progress import watched
    from backstay.repository.manifest import choose_point
    from backstay.restore.existing import Existing
    from backstay.restore.plan import plan_restore
    from backstay.restore.workflow import run_restore

    output = Output(as_json=as_json, verbose=verbose)
    repository = open_repository(location, output, passphrase_file=passphrase_file)
    chosen = choose_point(repository.points(), point, backup_set=backup_set)
    with watched(output) as progress:
        plan = plan_restore(
            repository,
            chosen,
            target=os.fsencode(target),
            paths=[options.point_path(path) for path in paths],
            existing=Existing(existing or "refuse"),
            with_permissions=not no_permissions,
            numeric_ids=numeric_ids,
            strip=strip,
            progress=progress,
        )
    with plan:
        _tell_plan(plan, output)
        if dry_run:
            return 3 if plan.problems else 0
        with watched(output) as progress:
            outcome = run_restore(plan, progress, verified=not no_verify)
    _tell_outcome(outcome, output)
    return 0 if outcome.complete else 3


def _tell_plan(plan: "RestorePlan", output: Output) -> None:
    figures = plan.figures
    output.event("plan", {**vars(figures), "point": plan.point.id.hex(), "problems": len(plan.problems)})
    parts = [counted(figures.files, "file"), size(figures.bytes), counted(figures.folders, "folder")]
    parts += [
        counted(number, one, many)
        for number, one, many in (
            (figures.links, "hard link", "hard links"),
            (figures.others, "link or special file", "links and special files"),
            (figures.replaced, "file replaced", "files replaced"),
            (figures.skipped, "file skipped", "files skipped"),
            (figures.renamed, "file beside what exists", "files beside what exists"),
        )
        if number
    ]
    when = local_time(plan.point.manifest.time_ns)
    output.line(f"restoring {plan.point.short_id} of {when} to {shown(plan.target)}: {', '.join(parts)}")
    for note in plan.notes:
        output.event("note", {"note": note})
        output.line(f"note: {note}")
    _list("warning", "was not captured at one moment", plan.warnings, output)


def _tell_outcome(outcome: "RestoreOutcome", output: Output) -> None:
    _list("problem", "could not be restored as it was", outcome.problems, output)
    fields = {
        "complete": outcome.complete,
        "files": outcome.files,
        "folders": outcome.folders,
        "links": outcome.links,
        "others": outcome.others,
        "bytes": outcome.bytes,
        "verified": outcome.verified,
        "problems": len(outcome.problems),
    }
    output.event("result", {**fields, **path_fields(outcome.target, "target")})
    verified = "not verified" if outcome.verified is None else f"{outcome.verified:,} verified"
    output.line(
        f"restored {counted(outcome.files, 'file')}, {size(outcome.bytes)}, "
        f"to {shown(outcome.target)}: {verified}"
    )


def _list(event: str, what: str, problems: "list[RestoreProblem]", output: Output) -> None:
    limit = len(problems) if output.verbose or output.as_json else _SHOWN
    if problems:
        output.line(f"{counted(len(problems), 'file')} {what}:")
    for problem in problems[:limit]:
        output.event(event, {**path_fields(problem.path), "reason": problem.reason})
        output.line(f"  {shown(problem.path)}: {shown(problem.reason)}")
    if len(problems) > limit:
        output.line(f"  … and {len(problems) - limit:,} more; --verbose lists all")
