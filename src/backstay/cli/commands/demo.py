"""`backstay demo`: a full backup of a real tree, an incremental one, and both restored and compared."""

from pathlib import Path

import click

from backstay.cli import options


@click.command("demo")
@click.option(
    "--source", type=options.FILE, metavar="DIR", help="The tree to protect  [default: this Python's library]"
)
@click.option(
    "--folder",
    type=options.FILE,
    default=Path("demo"),
    metavar="DIR",
    help="Where everything is put; made anew each time  [default: ./demo]",
)
def command(source: Path | None, folder: Path) -> int:
    """Back up a copy of a real tree, change it, back it up again, restore both points and compare.

    Nothing outside of the demo's folder is changed.
    """
    from backstay.cli.demo import run_demo

    return run_demo(source, folder)
