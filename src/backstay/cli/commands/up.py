"""`backstay up`: everything on one machine: server, this machine's agent, a repository in a folder."""

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from backstay.cli import options
from backstay.cli.output import Output

if TYPE_CHECKING:
    from backstay.server.control import Control

_PORT = 8443


@click.command("up")
@click.option(
    "--protect",
    "paths",
    metavar="PATH",
    multiple=True,
    help="Back up PATH every night; can be given several times.",
)
@click.option("--folder", type=options.FILE, metavar="DIR", help="Where everything is kept.")
@click.option("--storage", metavar="REPO", default="", help="Where backups are kept  [default: in DIR]")
@click.option(
    "--port", type=click.IntRange(0, 65535), help=f"Of the loopback address  [default: {_PORT}, or any]"
)
@options.log_level("warning")
@options.as_json
def command(
    paths: tuple[str, ...], folder: Path | None, storage: str, port: int | None, log_level: str, as_json: bool
) -> int:
    """Protect this machine: run a server for it, on the loopback address, and its agent, until stopped."""
    from backstay.cli import logs
    from backstay.server.serve import is_free, serve
    from backstay.server.settings import ServerSettings

    output = Output(as_json=as_json)
    logs.configure(log_level)
    home = (folder or _default_folder()).absolute()
    wanted = [os.path.abspath(path) for path in paths]
    settings = ServerSettings(
        folder=home / "server",
        storage=storage,
        host="127.0.0.1",
        port=port if port is not None else _PORT if is_free("127.0.0.1", _PORT) else 0,
        tls="off",
    )
    agents: list[subprocess.Popen[bytes]] = []
    try:
        serve(settings, ready=lambda control: agents.append(_begin(control, home, wanted, log_level, output)))
    finally:
        for agent in agents:
            agent.terminate()
        for agent in agents:
            agent.wait()
    return 0


def _default_folder() -> Path:
    if os.geteuid() == 0:
        return Path("/var/lib/backstay")
    base = os.environ.get("XDG_DATA_HOME")
    return (Path(base) if base else Path.home() / ".local/share") / "backstay"


def _begin(
    control: "Control", home: Path, paths: list[str], log_level: str, output: Output
) -> "subprocess.Popen[bytes]":
    """Set up what is not there yet, start the agent, and say how to get in."""
    from backstay.agent.settings import AgentSettings
    from backstay.domain.errors import UsageError
    from backstay.server import first_start

    url, folder = control.settings.public_url, home / "agent"
    password = first_start.first_password(control)
    try:
        known = AgentSettings.load(folder)
        enrolled = AgentSettings(url, "", known.file_server_id, known.name, known.secret)
    except UsageError:
        machine = first_start.enrol_this_machine(control)
        enrolled = AgentSettings(url, "", machine.file_server_id, machine.name, machine.secret)
    enrolled.save(folder)
    if paths:
        first_start.protect(control, enrolled.file_server_id, paths)
    words = [sys.executable, "-m", "backstay.cli", "agent", "run", "--with-parent", "--log-level", log_level]
    words += ["--leave-out", str(home)]
    if not control.settings.storage_location.startswith("s3:"):
        words += ["--leave-out", control.settings.storage_location]
    # In a session of its own: Ctrl-C is for this process, which ends the agent in order.
    agent = subprocess.Popen(words, env={**os.environ, "BACKSTAY_AGENT": str(folder)}, start_new_session=True)
    output.event("ready", {"url": url, "name": "admin", "password": password, "file_server": enrolled.name})
    output.line(f"Backstay is up at {url}")
    if password is not None:
        output.line(f"sign in as admin with the password {password}  (shown this once)")
        output.line(f"print {home / 'server' / 'recovery-sheet.txt'}, keep it elsewhere, and delete the file")
    for path in paths:
        output.line(f"{path} is protected every night; back it up now: in the console, or `backstay backup`")
    output.line("Ctrl-C stops it")
    sys.stdout.flush()
    return agent
