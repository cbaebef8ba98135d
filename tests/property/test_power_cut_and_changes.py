"""A file server lives: files change in every way, backups, prunes, power cuts, lost and outdated states.

Whatever the order, each restore point reads back as the source was. Folders are split, and
listed in pieces, from a few entries on, so that a small tree meets all the ways of the scan.
"""

import os
import shutil
import tempfile
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from backstay.backup import listing
from backstay.backup.progress import Silent
from backstay.backup.workflow import BackupRequest, run_backup
from backstay.filesystem import walker
from backstay.repository import splitting, tree
from backstay.repository.layout import MANIFESTS, digest_of
from backstay.repository.verify import run_verify
from backstay.testing.crash_rig import (
    DAY,
    KEPT,
    LOST,
    STALE,
    Machine,
    Saved,
    cut_power_at,
    disk_of,
    save,
    small_sizes,
)
from backstay.testing.power_cut_storage import PowerCutStorage
from backstay.testing.witness import Seen, seen_in_folder

SEEDS = st.integers(0, 2**32)
NAMES = [f"{letter}{number}" for letter in "abc" for number in range(8)]


class Life(RuleBasedStateMachine):
    """See the module."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = pytest.MonkeyPatch()
        folder = Path(tempfile.mkdtemp(prefix="backstay-life-"))
        self.patches.setenv("BACKSTAY_STATE", str(folder / "state"))
        for module, name, value in (
            (listing, "SPLIT_FROM", 6),
            (tree, "SEGMENT_ENTRIES", 4),
            (splitting, "SEGMENT_ENTRIES", 4),
            (walker, "_SORTED_IN_MEMORY", 14),
        ):
            self.patches.setattr(module, name, value)
        self.sizes: Any = small_sizes()
        self.sizes.__enter__()
        self.machine = Machine.new(folder)
        self.source = self.machine.source
        self.others: dict[bytes, dict[bytes, Seen]] = {}
        self.copies = 0
        self.copy: Saved | None = None
        self.may_miss_points = False
        for number in range(4):
            (self.source / f"d{number}").mkdir()

    # The source

    @rule(seed=SEEDS, count=st.integers(1, 8))
    def change(self, seed: int, count: int) -> None:
        """Some changes, each of a random kind at a random place."""
        random = Random(seed)
        for _ in range(count):
            self._change(random)

    def _change(self, random: Random) -> None:
        folders = [self.source, *(path for path in sorted(self.source.rglob("*")) if _is_folder(path))]
        files = [path for path in sorted(self.source.rglob("*")) if path.is_file() and not path.is_symlink()]
        folder = random.choice(folders)
        new = folder / random.choice(NAMES)
        kind = random.randrange(12)
        if kind <= 2 and not _is_folder(new):
            new.unlink(missing_ok=True)
            new.write_bytes(random.randbytes(random.choice((0, 50, 600, 3000))))
        elif kind == 3 and not os.path.lexists(new) and len(folders) < 15:
            new.mkdir()
        elif kind == 4 and self.source not in (folder, folder.parent):
            shutil.rmtree(folder)
        elif kind == 5 and folder != self.source:
            target = random.choice(folders) / random.choice(NAMES)
            if not os.path.lexists(target) and not target.is_relative_to(folder):
                folder.rename(target)
        elif kind == 6 and not os.path.lexists(new):
            new.symlink_to(random.choice(("x", "../y", "/z")))
        elif files:
            self._change_file(random.choice(files), new, kind, random)

    def _change_file(self, file: Path, new: Path, kind: int, random: Random) -> None:
        st = file.stat()
        if kind == 7:
            file.write_bytes(random.randbytes(st.st_size))
            os.utime(file, ns=(0, st.st_mtime_ns))
        elif kind == 8:
            file.unlink()
        elif kind == 9 and not os.path.lexists(new):
            os.link(file, new)
        elif kind == 10 and not _is_folder(new):
            file.rename(new)
        else:
            file.chmod(random.choice((0o600, 0o644)))
            os.utime(file, ns=(0, random.randrange(2 * 10**18)))

    # Backups

    @rule()
    def back_up(self) -> None:
        """A backup of everything."""
        self.machine.backup()
        self.check()

    @rule()
    def back_up_a_part(self) -> None:
        """Another set: one folder of the same."""
        part = self.source / "d1"
        if not _is_folder(part):
            return
        request = BackupRequest([os.fsencode(part)], "part", file_server="server")
        point = run_backup(self.machine.open(), request, Silent()).point
        self.others[point.id] = seen_in_folder(os.fsencode(part))
        self.machine.unjudged.add(point.id)
        self.check()

    @rule(number=st.integers(1, 60), seed=SEEDS, state=st.sampled_from([KEPT, KEPT, LOST, STALE]))
    def lose_power(self, number: int, seed: int, state: str) -> None:
        """A backup in whose midst the power goes off; the scan state is kept, lost or put back."""
        saved = self._save()
        older = self.copy.files / "state" if self.copy else None
        cut_power_at(self.machine, saved, self.machine.backup, number, Random(seed), state=state, older=older)
        # Its point may be there, and was made of the source as it is now.
        for point in self.machine.open().points():
            if point.id not in self.machine.unjudged and point.id not in self.machine.committed:
                self.machine.committed[point.id] = seen_in_folder(os.fsencode(self.source))
        self.check()

    @rule(keep=st.integers(0, 3), days=st.sampled_from([0, 0, 2]))
    def prune(self, keep: int, days: int) -> None:
        """A prune that leaves a few points."""
        self.machine.shift += days * DAY
        self.machine.prune(lambda points: points[len(points) - min(keep, len(points)) :])
        self.check()

    # Copies

    @rule()
    def keep_a_copy(self) -> None:
        """Somebody copies the repository and the scan state."""
        self.copy = self._save()

    @precondition(lambda self: self.copy is not None)
    @rule()
    def put_the_copy_back(self) -> None:
        """The repository is put back from the copy; the scan state is as new as it is."""
        assert self.copy is not None
        self.machine.storage = disk_of(self.copy.objects, self.machine.clock)
        there = {point.id for point in self.machine.open().points()}
        self.machine.committed = {
            point: seen for point, seen in self.copy.committed.items() if point in there
        }
        self.machine.expired = set(self.copy.expired)
        # The file server remembers points that are not there any more.
        self.may_miss_points = True
        self.check()

    def _save(self) -> Saved:
        self.copies += 1
        assert isinstance(self.machine.storage, PowerCutStorage)
        return save(self.machine, self.machine.folder / f"copy-{self.copies}")

    # What must hold

    def check(self) -> None:
        """Every restore point reads back."""
        self.machine.check_points()
        for point in self.machine.open().points():
            if point.id in self.others:
                assert self.machine.read(point, self.source / "d1") == self.others[point.id]

    def _check_only_points_are_missed(self) -> None:
        """Verify misses restore points that the file server remembers, and nothing else."""
        for damage in run_verify(self.machine.open(), data_percent=100).damages:
            assert damage.name.startswith(MANIFESTS), str(damage)
            assert digest_of(damage.name) not in self.machine.committed, str(damage)

    def teardown(self) -> None:
        """At last nothing is damaged, and nothing superfluous stays."""
        try:
            self.machine.check_next_backup()
            if self.may_miss_points:
                self._check_only_points_are_missed()
            else:
                self.machine.check_intact()
                self.machine.check_garbage()
        finally:
            self.sizes.__exit__(None, None, None)
            self.patches.undo()
            shutil.rmtree(self.machine.folder)


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


TestLife = Life.TestCase
TestLife.settings = settings(
    max_examples=8, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
)
