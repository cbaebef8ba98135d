"""`backstay rules`: what backup sets leave out."""

from pathlib import Path
from typing import Any

import click

from backstay.cli import options
from backstay.cli.output import Output
from backstay.cli.server_group import ServerGroup

_name = click.argument("name", metavar="RULE")
_comment = click.option("--comment", metavar="TEXT", help="A remark for people.")
_default_rules = click.option(
    "--default-rules/--no-default-rules",
    default=None,
    help="Whether what the operating system makes again is left out first [yes].",
)


@click.group("rules", cls=ServerGroup)
def command() -> None:
    """Content rules: what backup sets leave out."""


@command.command("list")
@options.as_json
def list_rules(as_json: bool) -> int:
    """List the content rules."""
    from backstay.cli.server_client import connect
    from backstay.cli.text import shown, table

    output = Output(as_json=as_json)
    rows = []
    with connect() as client:
        for one in client.pages("/content-rules", {"limit": 1000}):
            output.event("rule", one)
            lines = sum(1 for line in one["text"].splitlines() if line.strip() and not line.startswith("#"))
            rows.append((shown(one["name"]), str(one["used_by"]), str(lines), shown(one["comment"])))
    output.line(table(("RULE", "SETS", "LINES", "COMMENT"), rows, right=(1, 2)) if rows else "no rules yet")
    return 0


@command.command("show")
@_name
@options.as_json
def show(name: str, as_json: bool) -> int:
    """Print a content rule."""
    from backstay.cli.server_client import connect
    from backstay.cli.server_names import find_rule
    from backstay.cli.text import shown

    output = Output(as_json=as_json)
    with connect() as client:
        found = client.get(f"/content-rules/{find_rule(client, name)['id']}")
    output.event("rule", found)
    for line in found["text"].splitlines():
        output.line(shown(line))
    return 0


@command.command("create")
@_name
@click.argument("file", type=options.FILE, metavar="FILE")
@_comment
@_default_rules
@options.as_json
def create(name: str, file: Path, comment: str | None, default_rules: bool | None, as_json: bool) -> int:
    """Make a content rule of the lines of FILE, which are as in a .gitignore file in /."""
    from backstay.cli.server_client import connect
    from backstay.cli.text import shown

    output = Output(as_json=as_json)
    body = {
        "name": name,
        "text": _lines(file),
        "comment": comment or "",
        "default_rules": default_rules is not False,
    }
    with connect() as client:
        made = client.post("/content-rules", body)
    output.event("result", made)
    output.line(shown(f"the rule {made['name']} is made"))
    return 0


@command.command("change")
@_name
@click.option("--file", type=options.FILE, metavar="FILE", help="Take the lines of FILE instead.")
@click.option("--rename", metavar="NAME", help="Call it NAME from now on.")
@_comment
@_default_rules
@options.as_json
def change(
    name: str,
    file: Path | None,
    rename: str | None,
    comment: str | None,
    default_rules: bool | None,
    as_json: bool,
) -> int:
    """Change a content rule for all sets that use it."""
    from backstay.cli.server_client import connect
    from backstay.cli.server_names import find_rule
    from backstay.cli.text import shown

    output = Output(as_json=as_json)
    given: dict[str, Any] = {
        "name": rename,
        "text": _lines(file) if file else None,
        "comment": comment,
        "default_rules": default_rules,
    }
    body = {name: value for name, value in given.items() if value is not None}
    with connect() as client:
        changed = client.patch(f"/content-rules/{find_rule(client, name)['id']}", body)
    output.event("result", changed)
    output.line(shown(f"the rule {changed['name']} is changed for {changed['used_by']} sets"))
    return 0


@command.command("remove")
@_name
@options.as_json
def remove(name: str, as_json: bool) -> int:
    """Remove a content rule that no set uses."""
    from backstay.cli.server_client import connect
    from backstay.cli.server_names import find_rule
    from backstay.cli.text import shown

    output = Output(as_json=as_json)
    with connect() as client:
        found = find_rule(client, name)
        client.delete(f"/content-rules/{found['id']}")
    output.event("result", {"id": found["id"], "removed": True})
    output.line(shown(f"the rule {found['name']} is removed"))
    return 0


def _lines(file: Path) -> str:
    from backstay.domain.errors import UsageError

    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}", hint="check its path and mode") from None
    except UnicodeDecodeError:
        raise UsageError(f"{file} is no UTF-8", hint="write it in UTF-8") from None
