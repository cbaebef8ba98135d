"""`backstay server`: the control plane alone."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from backstay.cli import options
from backstay.cli.commands import server_adopt
from backstay.cli.output import Output

if TYPE_CHECKING:
    from backstay.server.control import Control


@click.group("server", invoke_without_command=True)
@click.option(
    "--folder",
    type=options.FILE,
    metavar="DIR",
    default=Path("/var/lib/backstay/server"),
    show_default=True,
    help="Where the server keeps its key, its certificate and, with SQLite, its database.",
)
@click.option(
    "--database", metavar="URL", default="", envvar="BACKSTAY_DATABASE", help="A path, or postgresql://…"
)
@click.option(
    "--storage",
    metavar="REPO",
    default="",
    envvar="BACKSTAY_STORAGE",
    help="Where the first repository is made: a folder, or s3://bucket/prefix.",
)
@click.option("--direct", is_flag=True, help="With S3: file servers store packs there themselves.")
@click.option("--host", metavar="ADDRESS", default="0.0.0.0", show_default=True, help="Where it listens.")
@click.option("--port", type=click.IntRange(0, 65535), default=8443, show_default=True, help="0: any.")
@click.option("--url", metavar="URL", default="", help="How agents and browsers reach it.")
@click.option(
    "--tls",
    type=click.Choice(["self-signed", "files", "off"]),
    default="self-signed",
    show_default=True,
    help="off: plain HTTP, for behind a proxy.",
)
@click.option(
    "--certificate", type=options.FILE, metavar="FILE", help="With --tls files: PEM, with its chain."
)
@click.option("--private-key", type=options.FILE, metavar="FILE", help="With --tls files: PEM.")
@click.option("--proxy", "proxies", metavar="ADDRESS", multiple=True, help="Believe X-Forwarded-For of it.")
@click.option("--open-metrics", is_flag=True, help="Show /metrics to this machine itself without a token.")
@options.log_level("info")
@options.as_json
@click.pass_context
def command(
    context: click.Context,
    folder: Path,
    database: str,
    storage: str,
    direct: bool,
    host: str,
    port: int,
    url: str,
    tls: str,
    certificate: Path | None,
    private_key: Path | None,
    proxies: tuple[str, ...],
    open_metrics: bool,
    log_level: str,
    as_json: bool,
) -> int:
    """Run the server: it keeps policies, jobs and storage of all file servers, and serves the console."""
    if context.invoked_subcommand is not None:
        return 0
    from backstay.cli import logs
    from backstay.server.serve import serve
    from backstay.server.settings import ServerSettings

    output = Output(as_json=as_json)
    logs.configure(log_level)
    settings = ServerSettings(
        folder=folder.absolute(),
        database=database,
        storage=storage,
        data_path="direct" if direct else "gateway",
        host=host,
        port=port,
        public_url=url,
        tls=tls,
        certificate=certificate,
        private_key=private_key,
        trusted_proxies=proxies,
        open_metrics=open_metrics,
    )
    serve(settings, ready=lambda control: _tell(control, output))
    return 0


command.add_command(server_adopt.command)


def _tell(control: "Control", output: Output) -> None:
    from backstay.server.tls import fingerprint_of

    settings = control.settings
    fingerprint = fingerprint_of(settings)
    output.event("ready", {"url": settings.public_url, "fingerprint": fingerprint})
    output.line(f"the server is ready at {settings.public_url}")
    if fingerprint:
        output.line(f"its certificate has the SHA-256 fingerprint {fingerprint}")
