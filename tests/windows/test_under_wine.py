"""Everything in `under_wine`, run by pytest on the Windows side; here each of those tests has its line."""

import ast
import fcntl
import json
import os
from pathlib import Path

import pytest

from backstay.testing.wine import Wine

# The first test of all prepares a Windows, and runs all of them.
pytestmark = pytest.mark.timeout(900)

_FOLDER = Path(__file__).parent / "under_wine"


def _tests() -> list[str]:
    found = []
    for file in sorted(_FOLDER.glob("windows_*.py")):
        body = ast.parse(file.read_text("utf-8")).body
        names = [node.name for node in body if isinstance(node, ast.FunctionDef)]
        found += [f"{file.name}::{name}" for name in names if name.startswith("test_")]
    return found


@pytest.fixture(scope="session")
def outcomes(wine: Wine, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What came of each test, by its name; one run for all processes of this test run."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    result = shared / "under_wine.json"
    with (shared / "under_wine.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not result.exists():
            told = wine.python(
                [wine.path(_FOLDER / "run.py"), wine.path(result), "C:\\tests"]
                + [wine.path(file) for file in sorted(_FOLDER.glob("windows_*.py"))]
            )
            if not result.exists():
                pytest.fail(f"pytest did not run under wine:\n{told.stdout[-3000:]}")
    return json.loads(result.read_text("utf-8"))


@pytest.mark.parametrize("name", _tests())
def test_on_windows(name: str, outcomes: dict[str, list[str]]) -> None:
    """The test of this name passes on the Windows side."""
    found = {key: value for key, value in outcomes.items() if key.partition("[")[0] == name}
    assert found, f"{name} did not run"
    for outcome, told in found.values():
        if outcome == "skipped":
            pytest.skip(told)
        assert outcome == "passed", told
