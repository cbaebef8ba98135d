"""`backstay repo backup`: the six steps, from request to clean up."""

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from backstay.cli import options
from backstay.cli.output import Output

if TYPE_CHECKING:
    from backstay.backup.listing_ahead import ListingAhead
    from backstay.repository.details import Problem
    from backstay.storage.interface import Storage

_PROBLEMS_SHOWN = 20
_PACKS_AT_ONCE = 3
"""To a storage behind a network: as measured, see docs/decisions/0021-data-path.md."""


@click.command("backup")
@options.location
@click.argument("paths", metavar="PATH...", nargs=-1, required=True)
@click.option("--set", "backup_set", metavar="NAME", default="default", help="Name of the backup set.")
@click.option(
    "--exclude",
    metavar="PATTERN",
    multiple=True,
    help="Leave out what matches, as a line of a .gitignore file in /; can be given several times.",
)
@click.option("--rules", type=options.FILE, metavar="FILE", help="Leave out what the lines of FILE match.")
@click.option(
    "--no-default-rules", is_flag=True, help="Do not leave out /proc, /sys, swap files and the like."
)
@click.option(
    "--one-file-system/--cross-file-systems",
    default=True,
    help="Whether to stay on the file systems of the given paths (the default).",
)
@options.credential
@options.passphrase_file
@options.verbose
@options.as_json
def command(
    location: str,
    paths: tuple[str, ...],
    backup_set: str,
    exclude: tuple[str, ...],
    rules: Path | None,
    no_default_rules: bool,
    one_file_system: bool,
    credential: Path | None,
    passphrase_file: Path | None,
    verbose: bool,
    as_json: bool,
) -> int:
    """Back up PATHs as a new restore point; only what changed since the last one is read."""
    from backstay.backup.listing_ahead import begin_listing
    from backstay.backup.own_places import own_places, rule_text
    from backstay.cli.content_rules import rules_from
    from backstay.cli.opening import open_repository
    from backstay.cli.text import seconds, size
    from backstay.domain.errors import UsageError
    from backstay.system.host import chosen_path

    output = Output(as_json=as_json, verbose=verbose)
    if not 1 <= len(backup_set) <= 64 or not backup_set.isprintable():
        raise UsageError("that cannot be the name of a set", hint="use 1 to 64 printable characters")
    if not all(paths):
        raise UsageError("one of the paths is empty", hint="name a folder or file")
    rule = rules_from(rules, exclude, default_rules=not no_default_rules)
    chosen = [chosen_path(path) for path in paths]
    with ExitStack() as stack:
        ahead: ListingAhead | None = None

        def look_ahead(storage: "Storage") -> None:
            nonlocal ahead
            ahead = begin_listing(
                chosen, rule + own_places(storage.location), cross_mounts=not one_file_system
            )
            if ahead is not None:
                stack.callback(ahead.close)

        repository = open_repository(
            location,
            output,
            passphrase_file=passphrase_file,
            credential=credential,
            meanwhile="backstay.backup.workflow",
            begin=look_ahead,
        )
        from backstay.backup.workflow import BackupRequest, run_backup
        from backstay.cli.progress import watched
        from backstay.storage.in_flight import InFlightStorage
        from backstay.storage.local import LocalStorage

        request = BackupRequest(
            chosen,
            backup_set,
            rule + own_places(repository.storage.location),
            rule_text(rule),
            cross_mounts=not one_file_system,
        )
        if not isinstance(repository.storage, LocalStorage):
            repository.storage = InFlightStorage(repository.storage, _PACKS_AT_ONCE)
        with watched(output) as progress:
            outcome = run_backup(repository, request, progress, ahead)
    _tell_problems(outcome.problems, output)
    manifest = outcome.point.manifest
    took = outcome.steps[-1].ended_ns - outcome.steps[0].started_ns
    from backstay.cli.commands.points import point_fields

    output.event(
        "result", {"complete": outcome.complete, "seconds": took / 1e9, "point": point_fields(outcome.point)}
    )
    output.line(
        f"restore point {outcome.point.short_id}: {manifest.type}, {manifest.totals.files:,} files, "
        f"{size(manifest.totals.bytes)}; read {size(manifest.read_bytes)}, "
        f"stored {size(manifest.stored_bytes)}, in {seconds(took)}"
    )
    return 0 if outcome.complete else 3


def _tell_problems(problems: "list[Problem]", output: Output) -> None:
    from backstay.cli.output import path_fields
    from backstay.cli.text import counted, shown
    from backstay.domain.entry import Grade

    limit = len(problems) if output.verbose or output.as_json else _PROBLEMS_SHOWN
    if problems:
        output.line(f"{counted(len(problems), 'file')} could not be captured as it should be:")
    for problem in problems[:limit]:
        output.event(
            "problem",
            {
                **path_fields(problem.path),
                "reason": problem.reason,
                "grade": Grade(problem.grade).name.lower(),
            },
        )
        output.line(f"  {shown(problem.path)}: {shown(problem.reason)}")
    if len(problems) > limit:
        output.line(f"  … and {len(problems) - limit:,} more; --verbose lists all")
