"""`backstay explain`: which rule includes or excludes a path."""

import stat
import time
from pathlib import Path

import click

from backstay.cli import options
from backstay.cli.output import Output
from backstay.domain.entry import FileStat
from backstay.system.calls import os


@click.command("explain")
@click.argument("path", metavar="PATH")
@click.option("--rules", type=options.FILE, metavar="FILE", help="A file of rules, as for `repo backup`.")
@click.option("--exclude", metavar="PATTERN", multiple=True, help="A rule, as for `repo backup`.")
@click.option("--no-default-rules", is_flag=True, help="Leave the default rules aside.")
@options.as_json
def command(
    path: str, rules: Path | None, exclude: tuple[str, ...], no_default_rules: bool, as_json: bool
) -> int:
    """Say of PATH and each folder above it whether it is backed up, and which rule decides.

    A PATH that does not exist is judged by its name; end it with a slash if it means a folder.
    """
    from backstay.backup.listing import is_cache_folder
    from backstay.cli.content_rules import rules_from
    from backstay.cli.output import path_fields
    from backstay.cli.text import shown, table

    output = Output(as_json=as_json)
    rule = rules_from(rules, exclude, default_rules=not no_default_rules)
    absolute = os.fsencode(os.path.abspath(path))
    seen = _stat_of(absolute)
    is_folder = stat.S_ISDIR(seen.mode) if seen is not None else path.endswith("/")
    explained = rule.explain(absolute.lstrip(b"/"), is_folder, seen, time.time_ns(), is_cache_folder)
    for ancestor, verdict in explained:
        decided_by = None
        if verdict.rule is not None:
            text = verdict.rule.text.decode(errors="backslashreplace")
            decided_by = {"text": text, "origin": verdict.rule.origin, "comment": verdict.rule.comment}
        fields = {"included": verdict.included, "rule": decided_by, "reason": verdict.reason}
        output.event("verdict", {**path_fields(b"/" + ancestor), **fields})
    rows = [
        (shown(b"/" + ancestor), "in" if verdict.included else "out", shown(verdict.reason))
        for ancestor, verdict in explained
    ]
    output.line(table(("PATH", "", "WHY"), rows))
    if seen is None:
        output.note(f"{os.fsdecode(absolute)} does not exist: judged by its name")
    return 0


def _stat_of(path: bytes) -> FileStat | None:
    try:
        st = os.lstat(path)
    except OSError:
        return None
    from backstay.filesystem.extras import stat_of

    return stat_of(os.path.basename(path), st)
