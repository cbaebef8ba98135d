"""docs/operations.md names only what there is: commands, options, settings, metrics, kinds of alerts."""

import re
import shlex
from pathlib import Path

import click
import pytest

from backstay.cli.app import command_line
from backstay.server import estate_metrics, metrics
from backstay.server.alerts import CHECKS, HOST_CHECKS, AlertKind

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "operations.md").read_text()

_SHELL = re.findall(r"^```(?:sh|ini)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
_INLINE = re.findall(r"`(backstay [^`]*)`", re.sub(r"^```.*?^```", "", PAGE, flags=re.MULTILINE | re.DOTALL))
_LINES = [
    line.partition("ExecStart=")[2] or line
    for line in "\n".join(_SHELL).splitlines()
    if re.match(r"(ExecStart=\S*/)?backstay ", line)
]
USES = sorted({*(line.rpartition("/bin/")[2] for line in _LINES), *_INLINE})


def _resolved(words: list[str]) -> tuple[click.Command, list[str]]:
    """The command, and what follows its name."""
    command: click.Command = command_line()
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        context = click.Context(command)
        inner = command.get_command(context, words[0])
        if inner is None:
            break
        command, words = inner, words[1:]
    return command, words


@pytest.mark.parametrize("use", USES)
def test_every_command_that_is_named_exists(use: str) -> None:
    """Each command can be found, and has each option that is given to it."""
    _, *words = shlex.split(use)
    command, rest = _resolved(words)
    assert command is not None
    if isinstance(command, click.Group) and not command.invoke_without_command:
        assert not rest, f"{use}: there is no such command"
        return
    context = click.Context(command, resilient_parsing=True)
    _, left_over, _ = command.make_parser(context).parse_args(list(rest))
    assert not left_over, f"{use}: it takes no {left_over}"


def test_the_page_names_enough_to_be_worth_this_test() -> None:
    """The patterns above find what they look for."""
    assert len(USES) > 20
    assert any(use.startswith("backstay server --storage") for use in USES)


def test_every_metric_that_is_named_is_made_and_none_is_missing() -> None:
    """The table lists the metrics of the code."""
    code = Path(metrics.__file__).read_text() + Path(estate_metrics.__file__).read_text()
    made = set(re.findall(r'"(backstay_[a-z_]+)"', code)) - {"backstay_began"}
    made |= {
        f"backstay_repository_{name}" for name in re.findall(r'^        "([a-z_]+)": "', code, re.MULTILINE)
    }
    named = {name.removesuffix("_total") for name in re.findall(r"`(backstay_[a-z_]+)`", PAGE)}
    assert named == made


def test_every_kind_of_alert_is_explained_and_looked_for() -> None:
    """The table lists the kinds, and each kind has a check."""
    table = set(
        re.findall(
            r"^\| `([a-z_]+)` \|", PAGE.partition("## Alerts")[2].partition("## Monitoring")[0], re.MULTILINE
        )
    )
    assert table == {kind.value for kind in AlertKind}
    assert {check.kind for check in (*CHECKS, *HOST_CHECKS)} == set(AlertKind)


def test_every_link_leads_somewhere() -> None:
    """Chapters and pages that are linked are there."""
    for target in re.findall(r"\]\(([^)]+)\)", PAGE):
        if target.startswith("#"):
            title = target[1:]
            titles = {
                re.sub(r"[^a-z0-9 -]", "", one.lower()).replace(" ", "-")
                for one in re.findall(r"^## (.*)$", PAGE, re.MULTILINE)
            }
            assert title in titles, title
        elif "://" not in target:
            assert (ROOT / "docs" / target).exists(), target
