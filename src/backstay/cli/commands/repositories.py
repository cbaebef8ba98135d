"""`backstay repositories`: the repositories that the server keeps, and their upkeep."""

from typing import TYPE_CHECKING, Any

import click

from backstay.cli import options
from backstay.cli.output import Output
from backstay.cli.server_group import ServerGroup

if TYPE_CHECKING:
    from backstay.cli.server_client import ServerClient

_NAME = click.argument("repository", metavar="NAME")
_FOLLOW = click.option("--follow", is_flag=True, help="Show the steps until the job is over.")


@click.group("repositories", cls=ServerGroup)
def command() -> None:
    """The repositories that the server keeps, and their upkeep."""


@command.command("list")
@options.as_json
def list_repositories(as_json: bool) -> int:
    """List repositories: how much is in them, and what it takes."""
    from backstay.cli.server_client import connect
    from backstay.cli.text import shown, size, table

    output = Output(as_json=as_json)
    with connect() as client:
        found = _all(client)
    for one in found:
        output.event("repository", one)
    rows = [
        (
            shown(one["name"]),
            f"{one['figures']['restore_points']:,}",
            size(one["figures"]["source_bytes"]),
            size(one["figures"]["stored_bytes"]),
            shown(one["location"]),
        )
        for one in found
    ]
    output.line(table(("NAME", "POINTS", "PROTECTED", "STORED", "LOCATION"), rows, right=(1, 2, 3)))
    return 0


@command.command("verify")
@_NAME
@click.option(
    "--percent", type=click.FloatRange(0, 100), default=100.0, help="How much of the content is read [100]."
)
@_FOLLOW
@options.as_json
def verify(repository: str, percent: float, follow: bool, as_json: bool) -> int:
    """Look for damage now, and name what it touches."""
    return _start(repository, "verify", {"data_percent": percent}, follow=follow, as_json=as_json)


@command.command("prune")
@_NAME
@click.option("--dry-run", is_flag=True, help="Only find out what would go, and what that would free.")
@_FOLLOW
@options.as_json
def prune(repository: str, dry_run: bool, follow: bool, as_json: bool) -> int:
    """Take out what retention lets go, and free its room, now."""
    return _start(repository, "prune", {"dry_run": dry_run}, follow=follow or dry_run, as_json=as_json)


@command.command("drill")
@_NAME
@click.option("--files", type=click.IntRange(1, 100_000), default=50, help="How many of each set [50].")
@_FOLLOW
@options.as_json
def drill(repository: str, files: int, follow: bool, as_json: bool) -> int:
    """Read files chosen by chance out of each set's newest restore point, as a restore would."""
    return _start(repository, "drill", {"files": files}, follow=follow, as_json=as_json)


def _start(repository: str, task: str, wanted: dict[str, Any], *, follow: bool, as_json: bool) -> int:
    from backstay.cli.job_following import follow as follow_job
    from backstay.cli.server_client import connect

    output = Output(as_json=as_json)
    with connect() as client:
        number = client.post(f"/repositories/{_find(client, repository)['id']}/{task}", wanted)["job"]
        if follow:
            return follow_job(client, number, output)
        job = client.get(f"/jobs/{number}")
    output.event("result", job)
    output.line(f"job {number} does it; follow it with: backstay jobs show {number} --follow")
    return 0


def _all(client: "ServerClient") -> list[Any]:
    found = client.get("/repositories")
    return list(found["items"] if isinstance(found, dict) else found)


def _find(client: "ServerClient", wanted: str) -> Any:
    from backstay.domain.errors import NotFound

    for one in _all(client):
        if wanted in {one["name"], one["id"]}:
            return one
    raise NotFound(f"there is no repository {wanted}", hint="`backstay repositories list` lists them")
