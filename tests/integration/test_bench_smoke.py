"""The benches run to their end with tiny sizes, and say in the record what they ran."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[2] / "bench"


def run_bench(script: str, folder: Path, *options: str, path: str | None = None) -> str:
    """Run a bench as a user would, and return the record that it wrote."""
    results = folder / "RESULTS.md"
    command = [sys.executable, str(BENCH / script), "--quick", "--work", str(folder / "work")]
    environment = dict(os.environ) if path is None else {**os.environ, "PATH": path}
    done = subprocess.run(
        [*command, "--results", str(results), *options],
        check=False,
        capture_output=True,
        text=True,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    return results.read_text() + done.stderr


def test_side_by_side_runs_without_peers(tmp_path: Path) -> None:
    """Every work is measured, missing peers are named, no place of this machine is told, nothing is left."""
    record = run_bench("side_by_side.py", tmp_path, "--peers", str(tmp_path))
    for work in ("first backup", "unchanged second backup", "incremental", "restore, verified"):
        assert record.count(f"| {work}") == 2, work
    assert "not compared, because not there: restic, borg" in record
    assert "restic is missing" in record
    assert str(tmp_path) not in record
    assert "a trial of the bench" in record
    assert list((tmp_path / "work").iterdir()) == []


def test_growth_says_how_it_grows(tmp_path: Path) -> None:
    """Each series ends with a verdict on time and memory."""
    record = run_bench("growth.py", tmp_path, "--only", "files", "points")
    assert "| 200 |" in record
    assert "time ~ size^" in record
    assert "last 1 incremental backups against the first 1" in record
    assert list((tmp_path / "work").iterdir()) == []


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="memory is read from /proc")
def test_index_scale_finds_every_blob(tmp_path: Path) -> None:
    """Look-ups are checked while they are timed, and the figures are recorded for one run and for several."""
    record = run_bench("index_scale.py", tmp_path)
    assert record.count("| 140,000 |") == 3
    assert list((tmp_path / "work").iterdir()) == []


def test_agents_load_measures_a_server(tmp_path: Path) -> None:
    """Simulated agents connect, backups run, every page is read without a failure."""
    record = run_bench("agents_load.py", tmp_path)
    assert "requests that failed: 0" in record
    assert record.count("| running jobs |") == 1
    assert list((tmp_path / "work").iterdir()) == []


def test_same_seed_same_tree(tmp_path: Path) -> None:
    """Generated trees are the same for the same seed, and differ for another."""
    made = []
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        folder = tmp_path / name
        command = [sys.executable, str(BENCH / "sources.py"), "small", str(folder), "120", "--seed", seed]
        subprocess.run(command, check=True)
        subprocess.run([sys.executable, str(BENCH / "sources.py"), "change", str(folder), "0.05"], check=True)
        made.append({str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.txt")})
    assert len(made[0]) == 120
    assert made[0] == made[1] != made[2]
