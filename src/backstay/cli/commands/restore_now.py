"""`backstay restore`: orders a restore from the server, onto a file server."""

import base64
import os
from typing import Any

import click

from backstay.cli import options
from backstay.cli.output import Output


@click.command("restore")
@click.argument("point", metavar="POINT")
@click.argument("paths", metavar="[PATH]...", nargs=-1)
@click.option("--to", "target", metavar="DIR", help="Folder to restore into  [default: the original place]")
@click.option("--file-server", metavar="NAME", help="Onto which  [default: the one that was backed up]")
@click.option(
    "--existing",
    type=click.Choice(["overwrite", "skip", "keep-both"]),
    help="What happens to what exists; without it the folder has to be empty.",
)
@click.option("--strip", is_flag=True, help="Put each PATH right into DIR, without the folders above it.")
@click.option("--no-permissions", is_flag=True, help="Leave owners, modes, ACLs and capabilities aside.")
@click.option("--numeric-ids", is_flag=True, help="Restore owners by number, not by name.")
@click.option("--no-verify", is_flag=True, help="Do not read everything again afterwards.")
@click.option("--dry-run", is_flag=True, help="Only say what would be written.")
@click.option("--follow", is_flag=True, help="Show the steps live, until the restore has ended.")
@options.verbose
@options.as_json
def command(
    point: str,
    paths: tuple[str, ...],
    target: str | None,
    file_server: str | None,
    existing: str | None,
    strip: bool,
    no_permissions: bool,
    numeric_ids: bool,
    no_verify: bool,
    dry_run: bool,
    follow: bool,
    verbose: bool,
    as_json: bool,
) -> int:
    """Restore POINT, or only the PATHs in it, onto a file server."""
    from backstay.cli.job_following import conclude
    from backstay.cli.job_following import follow as follow_job
    from backstay.cli.server_client import connect
    from backstay.cli.server_names import find_file_server

    output = Output(as_json=as_json, verbose=verbose)
    order: dict[str, Any] = {
        "restore_point": point,
        "target": _path(os.fsencode(target or "/")),
        "paths": [_path(os.fsencode(path)) for path in paths],
        "existing": existing or "refuse",
        "strip": strip,
        "with_permissions": not no_permissions,
        "numeric_ids": numeric_ids,
        "verified": not no_verify,
        "dry_run": dry_run,
    }
    with connect() as client:
        if file_server is not None:
            order["file_server_id"] = find_file_server(client, file_server)["id"]
        number = client.post("/restores", order)["job"]
        job = client.get(f"/jobs/{number}")
        if job["ended_at"] is not None:
            return conclude(client, job, output)
        if follow or dry_run:
            return follow_job(client, number, output)
    output.event("result", job)
    output.line(f"job {number} restores {point}")
    output.line(f"follow it with: backstay jobs show {number} --follow")
    return 0


def _path(path: bytes) -> str | dict[str, str]:
    try:
        return path.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(path).decode()}
