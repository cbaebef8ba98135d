"""`backstay repo mount`: restore points as folders, read-only."""

from pathlib import Path

import click

from backstay.cli import options
from backstay.cli.output import Output
from backstay.domain.errors import BackstayError


@click.command("mount")
@options.location
@click.argument("folder", metavar="DIR", type=options.FILE)
@click.option(
    "--allow-other",
    is_flag=True,
    help="Let other users in, as far as owners and modes let them read. Only you get in otherwise.",
)
@options.passphrase_file
@options.as_json
def command(
    location: str, folder: Path, allow_other: bool, passphrase_file: Path | None, as_json: bool
) -> int:
    """Show all restore points in the empty folder DIR, until Ctrl-C or `umount DIR`.

    Below DIR: file server / backup set / time and id / path. Nothing can be written there.
    """
    from backstay.cli.opening import open_repository
    from backstay.cli.text import shown
    from backstay.mount.mounting import check_folder, check_fuse, mount

    output = Output(as_json=as_json)
    check_folder(folder)
    check_fuse()
    repository = open_repository(location, output, passphrase_file=passphrase_file)
    place = str(folder.absolute())

    def ready() -> None:
        output.event("mounted", {"folder": place})
        output.line(f"mounted on {shown(place)}; end with Ctrl-C, or: umount '{shown(place)}'")

    def tell(error: BackstayError) -> None:
        output.event("damaged", {"what": error.what, "hint": error.hint})
        output.note(f"a reader was refused: {error.what}")

    mount(repository, folder.absolute(), ready=ready, tell=tell, allow_other=allow_other)
    output.event("unmounted", {"folder": place})
    output.line(f"unmounted {shown(place)}")
    return 0
