"""`backstay agent run`: the agent in the foreground, as its service runs it."""

import signal
import threading
from pathlib import Path
from types import FrameType

import click

from backstay.cli import options


@click.command("run")
@click.option(
    "--leave-out",
    "left_out",
    type=options.FILE,
    metavar="DIR",
    multiple=True,
    help="Never back up this folder.",
)
def command(left_out: tuple[Path, ...]) -> int:
    """Carry out what the server orders, until stopped."""
    from backstay.agent.daemon import run
    from backstay.agent.settings import agent_folder

    stop = threading.Event()

    def end(number: int, frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    run(agent_folder(), stop, [path.absolute() for path in left_out])
    return 0
