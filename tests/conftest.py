"""What a run of all tests says at its end."""

import pytest

_UNDER_WINE = "tests/windows/test_under_wine.py::"


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
