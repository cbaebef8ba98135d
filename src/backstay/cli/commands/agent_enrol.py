"""`backstay agent enrol`: makes this machine known to its server."""

import socket

import click

from backstay.cli import options
from backstay.cli.output import Output


@click.command("enrol")
@click.argument("url", metavar="URL")
@click.argument("token", metavar="TOKEN")
@click.option("--name", metavar="NAME", help="Name of this file server  [default: the host's name]")
@click.option("--again", is_flag=True, help="Replace an earlier enrolment of this machine.")
@options.as_json
def command(url: str, token: str, name: str | None, again: bool, as_json: bool) -> int:
    """Enrol this machine's agent at the server URL with a TOKEN from the console."""
    from backstay.agent.enrol import enrol
    from backstay.agent.settings import agent_folder

    output = Output(as_json=as_json)
    settings = enrol(url, token, name or socket.gethostname(), agent_folder(), again=again)
    output.event("result", {"file_server": settings.name, "id": settings.file_server_id})
    output.line(f"{settings.name} is enrolled at {settings.url}")
    output.line("start the agent with `backstay agent install` (a service), or `backstay agent run`")
    return 0
