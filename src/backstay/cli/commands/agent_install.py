"""`backstay agent install`: the agent as a service of systemd."""

import sys

import click

from backstay.cli import options
from backstay.cli.output import Output


@click.command("install")
@click.option("--no-start", is_flag=True, help="Only write the unit.")
@click.option("--print", "print_only", is_flag=True, help="Only show the unit.")
@options.as_json
def command(no_start: bool, print_only: bool, as_json: bool) -> int:
    """Install the agent as a service that starts with this machine."""
    output = Output(as_json=as_json)
    if sys.platform == "win32":
        from backstay.agent import service_windows

        if print_only:
            print(service_windows.program())
            return 0
        name = service_windows.install(start=not no_start)
        output.event("result", {"service": name, "started": not no_start})
        output.line(f"the service {name} is installed" + ("" if no_start else ", and the agent runs"))
        return 0
    from backstay.agent.service_linux import install, unit_text

    if print_only:
        print(unit_text(), end="")
        return 0
    path = install(start=not no_start)
    output.event("result", {"unit": str(path), "started": not no_start})
    output.line(f"{path} is written" + ("" if no_start else ", and the agent runs"))
    return 0
