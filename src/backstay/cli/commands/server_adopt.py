"""`backstay server adopt`: a repository whose server was lost becomes this server's, catalogue and all."""

from pathlib import Path

import click

from backstay.cli import options
from backstay.cli.output import Output


@click.command("adopt")
@click.argument("location", metavar="REPO")
@click.option(
    "--folder",
    type=options.FILE,
    metavar="DIR",
    default=Path("/var/lib/backstay/server"),
    show_default=True,
    help="The server's folder, as `backstay server` has it.",
)
@click.option(
    "--database", metavar="URL", default="", envvar="BACKSTAY_DATABASE", help="A path, or postgresql://…"
)
@click.option("--name", metavar="NAME", default="", help="What the server calls it.")
@click.option("--trust-packs", is_flag=True, help="Rely on what is stored there without checking it first.")
@options.passphrase_file
@options.as_json
def command(
    location: str,
    folder: Path,
    database: str,
    name: str,
    trust_packs: bool,
    passphrase_file: Path | None,
    as_json: bool,
) -> int:
    """Keep the repository at REPO from now on, and rebuild the catalogue of what is in it.

    Takes a passphrase of it, or its recovery key. Nothing in it is changed but for a passphrase of the
    server's own that is added. May be repeated.
    """
    from backstay.cli.passphrase import read_passphrase
    from backstay.cli.text import counted, shown
    from backstay.server.access import SYSTEM
    from backstay.server.adoption import adopt_repository
    from backstay.server.app import open_control
    from backstay.server.settings import ServerSettings

    output = Output(as_json=as_json)
    passphrase = read_passphrase(passphrase_file, output)
    settings = ServerSettings(folder=folder.absolute(), database=database, background=False)
    control = open_control(settings)
    try:
        adopted = adopt_repository(control, SYSTEM, location, passphrase, name=name, trust_packs=trust_packs)
    finally:
        control.database.close()
    points = adopted.points
    fields = {
        "repository": adopted.repository_id,
        "new": adopted.is_new,
        "file_servers": points.file_servers,
        "backup_sets": points.backup_sets,
        "restore_points": len(points.restore_points),
        "packs": adopted.packs,
        "damaged": adopted.damaged,
    }
    output.event("result", fields)
    output.line(f"repository {adopted.repository_id} is kept by this server")
    output.line(
        f"taken in: {counted(len(points.file_servers), 'file server')}, "
        f"{counted(len(points.backup_sets), 'backup set')}, "
        f"{counted(len(points.restore_points), 'restore point')}, {counted(adopted.packs, 'pack')}"
    )
    for damage in adopted.damaged:
        output.line(shown(damage))
    if points.backup_sets:
        output.line("the sets are switched off: enrol their file servers anew, then enable each")
    return 0 if not adopted.damaged else 3
