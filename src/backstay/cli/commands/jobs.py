"""`backstay jobs`: what ran, what runs, and how it went."""

from typing import Any

import click

from backstay.cli import options
from backstay.cli.output import Output
from backstay.cli.server_group import ServerGroup

_KINDS = ("backup", "restore", "verify", "prune", "drill")
_STATES = (
    *("queued", "waiting_for_agent", "running", "succeeded", "succeeded_with_warnings"),
    *("failed", "aborted", "cancelled", "skipped"),
)
_job = click.argument("job", metavar="JOB", type=click.IntRange(min=1))


@click.group("jobs", cls=ServerGroup)
def command() -> None:
    """Jobs: what ran, what runs, and how it went."""


@command.command("list")
@click.option("--state", type=click.Choice(_STATES), multiple=True, help="Only in this state.")
@click.option("--kind", type=click.Choice(_KINDS), multiple=True, help="Only of this kind.")
@click.option("--set", "backup_set", metavar="SET", help="Only of this backup set.")
@click.option("--file-server", metavar="NAME", help="Only of this file server.")
@click.option("--limit", type=click.IntRange(1, 1000), default=30, help="How many at most [30].")
@options.as_json
def list_jobs(
    state: tuple[str, ...],
    kind: tuple[str, ...],
    backup_set: str | None,
    file_server: str | None,
    limit: int,
    as_json: bool,
) -> int:
    """List jobs, the newest first."""
    from backstay.cli.server_client import connect
    from backstay.cli.server_names import find_file_server, find_set
    from backstay.cli.server_text import moment
    from backstay.cli.text import shown, table

    output = Output(as_json=as_json)
    with connect() as client:
        query: dict[str, Any] = {"limit": limit, "state": list(state), "kind": list(kind)}
        if backup_set is not None:
            query["backup_set_id"] = find_set(client, backup_set)["id"]
        if file_server is not None:
            query["file_server_id"] = find_file_server(client, file_server)["id"]
        found = client.get("/jobs", query)["items"]
    for job in found:
        output.event("job", job)
    rows = [
        (
            str(job["id"]),
            moment(job["created_at"]),
            job["kind"],
            shown(_about(job)),
            job["state"].replace("_", " "),
            shown(job["reason"]),
        )
        for job in found
    ]
    header = ("JOB", "REQUESTED", "KIND", "SET", "STATE", "REASON")
    output.line(table(header, rows, right=(0,)) if rows else "no jobs")
    return 0


@command.command("show")
@_job
@click.option("--follow", is_flag=True, help="Show it until it is over.")
@options.verbose
@options.as_json
def show(job: int, follow: bool, verbose: bool, as_json: bool) -> int:
    """Show a job: its steps, figures, and the files with problems."""
    from backstay.cli.job_following import conclude
    from backstay.cli.job_following import follow as follow_job
    from backstay.cli.progress import step_lines
    from backstay.cli.server_client import connect
    from backstay.cli.server_text import moment
    from backstay.cli.text import shown
    from backstay.repository.details import StepRecord

    output = Output(as_json=as_json, verbose=verbose)
    with connect() as client:
        if follow:
            return follow_job(client, job, output)
        found = client.get(f"/jobs/{job}")
        about = f"job {job}: {found['kind']} of {_about(found)}, requested by {found['requested_by']}"
        output.line(shown(f"{about} at {moment(found['created_at'])}"))
        for step in found["steps"]:
            ended = step["ended_ns"] or step["started_ns"]
            record = StepRecord(
                step["name"], step["state"], step["started_ns"], ended, step["figures"], step["messages"]
            )
            for line in step_lines(record):
                output.line(line)
        return conclude(client, found, output) if found["ended_at"] else _still_open(found, output)


@command.command("log")
@_job
@options.as_json
def log(job: int, as_json: bool) -> int:
    """Print a job's whole log."""
    from backstay.cli.server_client import connect
    from backstay.cli.text import shown

    output = Output(as_json=as_json)
    with connect() as client:
        if as_json:
            for message in client.pages(f"/jobs/{job}/messages", {"limit": 1000}):
                output.event("message", message)
            return 0
        for line in client.lines(f"/jobs/{job}/log"):
            output.line(shown(line))
    return 0


@command.command("cancel")
@_job
@options.as_json
def cancel(job: int, as_json: bool) -> int:
    """Cancel a job: at once if nobody runs it, else as soon as its agent hears of it."""
    from backstay.cli.server_client import connect

    output = Output(as_json=as_json)
    with connect() as client:
        found = client.post(f"/jobs/{job}/cancel")
    output.event("result", found)
    ended = found["ended_at"] is not None
    output.line(f"job {job} is cancelled" if ended else f"job {job} is asked to stop")
    return 0


@command.command("run-again")
@_job
@click.option("--follow", is_flag=True, help="Show the new job until it is over.")
@options.verbose
@options.as_json
def run_again(job: int, follow: bool, verbose: bool, as_json: bool) -> int:
    """Request once more what a job did that is over."""
    from backstay.cli.job_following import conclude
    from backstay.cli.job_following import follow as follow_job
    from backstay.cli.server_client import connect

    output = Output(as_json=as_json, verbose=verbose)
    with connect() as client:
        again = client.post(f"/jobs/{job}/run-again")
        if again["ended_at"] is not None:
            return conclude(client, again, output)
        if follow:
            return follow_job(client, again["id"], output)
    output.event("result", again)
    output.line(f"job {again['id']} does it again")
    return 0


def _about(job: dict[str, Any]) -> str:
    names = [job[what]["name"] for what in ("file_server", "backup_set") if job[what]]
    return "/".join(names) or "the repository"


def _still_open(job: dict[str, Any], output: Output) -> int:
    output.event("result", job)
    state = job["state"].replace("_", " ")
    output.line(f"job {job['id']} is {state}")
    return 0
