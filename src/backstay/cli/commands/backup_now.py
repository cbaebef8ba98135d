"""`backstay backup`: back up a set now."""

import click

from backstay.cli import options
from backstay.cli.output import Output


@click.command("backup")
@click.argument("backup_set", metavar="SET")
@click.option("--follow", is_flag=True, help="Show the six steps until the backup is over.")
@options.verbose
@options.as_json
def command(backup_set: str, follow: bool, verbose: bool, as_json: bool) -> int:
    """Have the server back up SET now.

    SET is its name where that is unique, or FILE-SERVER/SET. Where the agent is not running it fails at once.
    """
    from backstay.cli.job_following import conclude
    from backstay.cli.job_following import follow as follow_job
    from backstay.cli.server_client import connect
    from backstay.cli.server_names import find_set, full_name
    from backstay.cli.text import shown

    output = Output(as_json=as_json, verbose=verbose)
    with connect() as client:
        found = find_set(client, backup_set)
        job = client.post(f"/backup-sets/{found['id']}/backup")
        if job["ended_at"] is not None:
            return conclude(client, job, output)
        if follow:
            return follow_job(client, job["id"], output)
    output.event("result", job)
    output.line(shown(f"job {job['id']} backs up {full_name(found)}"))
    output.line(f"follow it with: backstay jobs show {job['id']} --follow")
    return 0
