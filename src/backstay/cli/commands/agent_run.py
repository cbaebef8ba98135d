"""`backstay agent run`: the agent in the foreground, as its service runs it."""

import os
import signal
import sys
import threading
from pathlib import Path
from types import FrameType

import click

from backstay.cli import options

_LOOK_SECONDS = 1.0


@click.command("run")
@click.option(
    "--leave-out",
    "left_out",
    type=options.FILE,
    metavar="DIR",
    multiple=True,
    help="Never back up this folder.",
)
@click.option("--with-parent", is_flag=True, help="Stop when the process that started it is no more.")
@click.option("--as-service", is_flag=True, help="On Windows: answer the service manager.")
@options.log_level("info")
def command(left_out: tuple[Path, ...], with_parent: bool, as_service: bool, log_level: str) -> int:
    """Carry out what the server orders, until stopped."""
    from backstay.agent.daemon import run
    from backstay.agent.settings import agent_folder
    from backstay.cli import logs

    logs.configure(log_level)
    own_folders = [path.absolute() for path in left_out]
    if as_service and sys.platform == "win32":
        from backstay.agent.service_log import log_to
        from backstay.agent.service_windows import host, tell_level

        log_to(agent_folder(), tell_level)
        host(lambda stop: run(agent_folder(), stop, own_folders))
        return 0
    stop = threading.Event()

    def end(number: int, frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    if with_parent:
        threading.Thread(target=_watch, args=(os.getppid(), stop), daemon=True).start()
    run(agent_folder(), stop, own_folders)
    return 0


def _watch(parent: int, stop: threading.Event) -> None:
    """Stop when the process that started this one is no more."""
    while os.getppid() == parent:
        if stop.wait(_LOOK_SECONDS):
            return
    stop.set()
