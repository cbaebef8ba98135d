"""Live files are moved while a backup looks at them: none is missed, whichever way it goes."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from backstay.backup.capture import MOST_LOOKS
from backstay.backup.progress import Silent
from backstay.backup.workflow import BackupOutcome, run_backup
from backstay.testing.crash_rig import Machine


class Meanwhile(Silent):
    """Does something at the moment when the scan is in a folder, or when a step begins."""

    def __init__(self, when: str, act: Callable[[], object], *, times: int = 1) -> None:
        self._when = when
        self._act = act
        self._left = times

    def _come(self, name: str) -> None:
        if name == self._when and self._left:
            self._left -= 1
            self._act()

    def step_started(self, name: str) -> None:
        """As Progress.step_started."""
        self._come(name)

    def scanning(self, files: int, size: int, path: bytes) -> None:
        """As Progress.scanning."""
        self._come(os.fsdecode(os.path.basename(path)))


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A file server whose folders a, m and z are looked at in this order."""
    monkeypatch.setenv("BACKSTAY_STATE", str(tmp_path / "state"))
    machine = Machine.new(tmp_path)
    for name in "amz":
        (machine.source / name).mkdir()
        (machine.source / name / f"of {name}").write_bytes(name.encode() * 2000)
    (machine.source / "z" / "tree" / "deep").mkdir(parents=True)
    (machine.source / "z" / "tree" / "deep" / "file").write_bytes(b"deep" * 700)
    # So that only what happens meanwhile bears the time of the backup.
    time.sleep(0.05)
    return machine


def _backup(machine: Machine, progress: Silent) -> BackupOutcome:
    outcome = run_backup(machine.open(), machine.request(), progress)
    machine.check_points()
    return outcome


def _relative(machine: Machine, path: Path) -> bytes:
    return os.fsencode(path.relative_to(machine.source))


def _messages(outcome: BackupOutcome) -> str:
    return "\n".join(message for step in outcome.steps for message in step.messages)


@pytest.mark.parametrize("first", [True, False], ids=["full", "incremental"])
@pytest.mark.parametrize("name", ["of z", "tree"])
def test_moved_to_where_the_scan_has_been(machine: Machine, name: str, first: bool) -> None:
    """A file or folder that moves from a folder yet to be scanned into one already scanned is captured."""
    if not first:
        machine.backup()
        time.sleep(0.05)
    moved = machine.source / "a" / name
    outcome = _backup(machine, Meanwhile("m", lambda: (machine.source / "z" / name).rename(moved)))
    assert outcome.complete
    assert "looked at again" in _messages(outcome)
    assert _relative(machine, moved) in machine.read(outcome.point)


def test_moved_after_the_scan(machine: Machine) -> None:
    """A new file that is moved between the scan and the moment it would be read is read at its new place."""
    moved = machine.source / "a" / "moved"
    outcome = _backup(machine, Meanwhile("transmit", lambda: (machine.source / "z" / "of z").rename(moved)))
    assert outcome.complete
    assert _relative(machine, moved) in machine.read(outcome.point)


def test_deleted_after_the_scan(machine: Machine) -> None:
    """A file that is deleted before it is read is no problem of the backup: it is not in the set any more."""
    outcome = _backup(machine, Meanwhile("transmit", (machine.source / "z" / "of z").unlink))
    assert outcome.complete


def test_became_a_folder_after_the_scan(machine: Machine) -> None:
    """A file that becomes a folder before it is read is captured as the folder that it is."""
    place = machine.source / "m" / "of m"

    def replace() -> None:
        place.unlink()
        place.mkdir()
        (place / "inside").write_bytes(b"inside" * 500)

    outcome = _backup(machine, Meanwhile("transmit", replace))
    assert outcome.complete
    assert _relative(machine, place / "inside") in machine.read(outcome.point)


def test_never_at_rest(machine: Machine) -> None:
    """Where files are moved at every look the backup ends, says so, and the next one has what it missed."""
    here, there = machine.source / "z" / "of z", machine.source / "a" / "of z"

    def swap() -> None:
        if there.exists():
            there.rename(here)
        here.rename(there)

    outcome = run_backup(machine.open(), machine.request(), Meanwhile("m", swap, times=MOST_LOOKS))
    assert "only be in the next restore point" in _messages(outcome)
    machine.unjudged.add(outcome.point.id)
    time.sleep(0.05)
    machine.check_next_backup()


def test_a_quiet_tree_is_looked_at_once(machine: Machine) -> None:
    """Nothing is looked at again where nothing moved, neither first nor later."""
    for _ in range(2):
        outcome = machine.backup()
        assert "again" not in _messages(outcome)
