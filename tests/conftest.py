"""How a run of all tests is shared out among processes, and what it says at its end."""

from pathlib import Path

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling

_UNDER_WINE = "tests/windows/test_under_wine.py::"
_LONGEST_FIRST = ("windows", "resilience", "end_to_end", "integration", "server", "property")
"""Folders of tests. What takes minutes begins first, so that no process waits for it at the end."""


class _Whole(LoadFileScheduling):
    """A file's tests run in one process, which makes what they share once; all that needs wine likewise."""

    def _split_scope(self, nodeid: str) -> str:
        return "windows" if "tests/windows/" in nodeid else super()._split_scope(nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> _Whole | None:
    """Share out by file and in order, unless another way is asked for by `--dist`."""
    if config.getvalue("dist") != "load":
        return None
    config.option.loadscopereorder = False
    return _Whole(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest first."""
    here = Path(__file__).parent

    def turn(item: pytest.Item) -> int:
        folder = item.path.relative_to(here).parts[0]
        return _LONGEST_FIRST.index(folder) if folder in _LONGEST_FIRST else len(_LONGEST_FIRST)

    items.sort(key=turn)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """How much of the Windows side ran here, and what waits for a real Windows."""
    stats = terminalreporter.stats
    ran, waiting = (
        [report for report in stats.get(outcome, []) if report.nodeid.startswith(_UNDER_WINE)]
        for outcome in ("passed", "skipped")
    )
    if not ran and not waiting:
        return
    terminalreporter.section("Windows")
    terminalreporter.line(f"{len(ran)} Windows tests ran under wine")
    if ran:
        terminalreporter.line(f"{len(waiting)} wait for a real Windows, as does what docs/windows.md lists:")
    for report in waiting:
        name = report.nodeid.rpartition("::")[2].rstrip("]")
        why = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""
        terminalreporter.line(f"  {name}: {why.removeprefix('Skipped: ')}")
