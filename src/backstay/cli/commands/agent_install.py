"""`backstay agent install`: the agent as a service of systemd."""

import click

from backstay.cli import options
from backstay.cli.output import Output


@click.command("install")
@click.option("--no-start", is_flag=True, help="Only write the unit.")
@click.option("--print", "print_only", is_flag=True, help="Only show the unit.")
@options.as_json
def command(no_start: bool, print_only: bool, as_json: bool) -> int:
    """Install the agent as a service that starts with this machine."""
    from backstay.agent.service_linux import install, unit_text

    output = Output(as_json=as_json)
    if print_only:
        print(unit_text(), end="")
        return 0
    path = install(start=not no_start)
    output.event("result", {"unit": str(path), "started": not no_start})
    output.line(f"{path} is written" + ("" if no_start else ", and the agent runs"))
    return 0
