"""`backstay doctor`: what this machine's server and agent depend on, and how to mend it."""

from collections.abc import Iterator
from pathlib import Path

import click

from backstay.cli import options
from backstay.cli.output import Output
from backstay.cli.text import shown
from backstay.domain.checkup import Health, Verdict, examine, worst
from backstay.domain.errors import UsageError

_CODES = {Health.OK: 0, Health.WARNING: 3, Health.FAILED: 1}


@click.command("doctor")
@click.option("--server", "as_server", is_flag=True, help="Look at the server alone.")
@click.option("--agent", "as_agent", is_flag=True, help="Look at the agent alone.")
@click.option(
    "--folder",
    type=options.FILE,
    metavar="DIR",
    default=Path("/var/lib/backstay/server"),
    show_default=True,
    help="The server's folder, as it is started with.",
)
@click.option(
    "--database",
    metavar="URL",
    default="",
    envvar="BACKSTAY_DATABASE",
    help="The server's database, as it is started with.",
)
@click.option("--host", metavar="ADDRESS", default="0.0.0.0", show_default=True, help="Where it listens.")
@click.option("--port", type=click.IntRange(1, 65535), default=8443, show_default=True, help="Its port.")
@click.option(
    "--tls",
    type=click.Choice(["self-signed", "files", "off"]),
    default="self-signed",
    show_default=True,
    help="Its TLS.",
)
@click.option("--certificate", type=options.FILE, metavar="FILE", help="With --tls files: its certificate.")
@click.option("--private-key", type=options.FILE, metavar="FILE", help="With --tls files: its key.")
@options.as_json
def command(
    as_server: bool,
    as_agent: bool,
    folder: Path,
    database: str,
    host: str,
    port: int,
    tls: str,
    certificate: Path | None,
    private_key: Path | None,
    as_json: bool,
) -> int:
    """Check everything that the server or the agent on this machine depends on.

    Says of each thing what was seen and how to mend it. Without --server or --agent it looks at whichever is
    set up here. Exit code 0: all is well, 3: warnings, 1: something failed.
    """
    output = Output(as_json=as_json)
    server_options = {
        "folder": folder.absolute(),
        "database": database,
        "host": host,
        "port": port,
        "tls": tls,
        "certificate": certificate,
        "private_key": private_key,
    }
    verdicts: list[Verdict] = []
    found = [*_rooms(as_server, as_agent, server_options)]
    if not found:
        raise UsageError(
            "neither a server nor an agent is set up on this machine",
            hint="`backstay server` starts one, `backstay agent enrol` the other; or name the --folder",
        )
    for room, checks in found:
        output.line(f"{room}:")
        for name, verdict in checks:
            verdicts.append(verdict)
            _tell(output, room, name, verdict)
        output.line()
    health = worst(verdicts)
    counted = {one.value: sum(verdict.health is one for verdict in verdicts) for one in Health}
    output.event("result", {"health": health.value, "counts": counted})
    output.line(", ".join(f"{count} {word}" for word, count in counted.items() if count))
    return _CODES[health]


def _rooms(
    as_server: bool, as_agent: bool, server_options: dict[str, object]
) -> Iterator[tuple[str, Iterator[tuple[str, Verdict]]]]:
    either = not as_server and not as_agent
    if as_agent or either:
        from backstay.agent import doctor as agent_doctor
        from backstay.agent.settings import agent_folder

        if as_agent or agent_doctor.is_agent(agent_folder()):
            yield "agent", examine(agent_doctor.CHECKS, agent_doctor.AgentSubject(agent_folder()))
    if as_server or either:
        try:
            from backstay.server import doctor as server_doctor
            from backstay.server.settings import ServerSettings
        except ImportError as error:
            if as_server:
                raise UsageError(
                    f"the server's packages are not installed here ({error.name})",
                    hint="install them: pip install 'backstay[server]'",
                ) from None
            return
        settings = ServerSettings(**server_options)  # type: ignore[arg-type]
        if as_server or server_doctor.is_server(settings):
            yield "server", examine(server_doctor.CHECKS, server_doctor.ServerSubject(settings))


def _tell(output: Output, room: str, name: str, verdict: Verdict) -> None:
    output.event(
        "check",
        {
            "room": room,
            "check": name,
            "health": verdict.health.value,
            "saw": verdict.saw,
            "mend": verdict.mend,
        },
    )
    output.line(f"  {verdict.health.value:<8} {name}: {shown(verdict.saw)}")
    if verdict.mend:
        output.line(f"           {shown(verdict.mend)}")
