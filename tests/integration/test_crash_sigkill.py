"""Real processes, killed with SIGKILL at random moments on a real folder.

A sample; bench/crash_campaign.py kills hundreds.
"""

from pathlib import Path
from random import Random

import pytest

from backstay.testing.crash_kill import Victim
from backstay.testing.crash_rig import small_sizes


def test_killed_again_and_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Backups, prunes and rebuilds of one repository are killed one after the other: nothing is ever lost."""
    monkeypatch.setenv("BACKSTAY_STATE", str(tmp_path / "state"))
    with small_sizes():
        victim = Victim(tmp_path, Random())
        while victim.kills.total() < 10:
            victim.round()
