"""The program that runs on the Windows side: pytest on files, and a file that says what came of each test.

run.py RESULT FOLDER FILE...
"""

import json
import sys
from pathlib import Path

import pytest


class Outcomes:
    """A plugin that keeps, for each test, the worst of what its phases said, and why."""

    def __init__(self) -> None:
        self.found: dict[str, list[str]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep a phase's outcome."""
        name = report.nodeid.rpartition("/")[2]
        known = self.found.get(name, ["passed", ""])
        if report.outcome != "passed" and known[0] != "failed":
            why = report.longrepr
            known = [report.outcome, why[2] if isinstance(why, tuple) else report.longreprtext]
        self.found[name] = known


if __name__ == "__main__":
    result, folder, *files = sys.argv[1:]
    outcomes = Outcomes()
    options = ["-q", "-p", "no:cacheprovider", "-c", "NUL", "--import-mode=importlib", "--basetemp", folder]
    here = str(Path(__file__).parent)
    pytest.main([*options, "--rootdir", here, "--confcutdir", here, *files], plugins=[outcomes])
    Path(result).write_text(json.dumps(outcomes.found), "utf-8")
