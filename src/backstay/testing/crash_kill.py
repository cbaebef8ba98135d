"""Killing real processes at random moments, and checking what they leave in a real folder."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from random import Random

from backstay.repository.repository import Repository
from backstay.storage.local import LocalStorage
from backstay.testing.crash_rig import DAY, Machine
from backstay.testing.crash_worker import PASSPHRASE
from backstay.testing.witness import seen_in_folder

_LONGEST = 60.0


class Victim:
    """A machine whose backups, prunes and rebuilds run in processes of their own.

    Args:
        folder: gets the source, the repository, the scan state and the cache. BACKSTAY_STATE must
            name `folder / "state"`.

    Attributes:
        kills: processes killed before they were done, by action.
        finished: processes that were done before the signal came, by action.
    """

    def __init__(self, folder: Path, random: Random) -> None:
        storage = LocalStorage(folder / "repository", create=True)
        repository, _ = Repository.create(storage, PASSPHRASE, cache=folder / "cache")
        self.machine = Machine(folder, repository.secrets, storage)
        self.machine.fill("a", 30, random)
        self.kills: Counter[str] = Counter()
        self.finished: Counter[str] = Counter()
        self._random = random
        self._lasts = {"backup": 0.3, "prune": 0.3, "rebuild": 0.2}
        self._rounds = 0

    def round(self) -> None:
        """Change something, kill something, check; now and then clean up.

        Raises:
            AssertionError, BackstayError: something was lost.
        """
        random, machine = self._random, self.machine
        self._rounds += 1
        machine.fill("a", random.randrange(30), random)
        machine.fill(f"r{self._rounds % 7}", random.randrange(20), random)
        self.kill(random.choices(("backup", "prune", "rebuild"), (5, 3, 2))[0])
        # The storage object here has seen other things than the disk of the process that was killed.
        machine.storage = LocalStorage(machine.folder / "repository")
        machine.check_points()
        machine.check_intact()
        machine.check_next_backup()
        if self._rounds % 8 == 0:
            machine.prune(lambda points: points[-3:])
            self._let_days_pass()
            machine.check_garbage()
            machine.check_next_backup()

    def _let_days_pass(self) -> None:
        """Make all sessions older: one that died before it was known to anyone is waited for for a day."""
        past = time.time() - 2 * DAY
        for path in (self.machine.folder / "repository" / "sessions").glob("*/*"):
            os.utime(path, (past, past))

    def kill(self, action: str) -> None:
        """Run an action, and kill it at a random moment of the time that it usually takes."""
        folder = self.machine.folder
        before = seen_in_folder(os.fsencode(self.machine.source))
        if action == "prune":
            self.machine.expired.update(point.id for point in self.machine.open().points()[:-3])
        command = [sys.executable, "-m", "backstay.testing.crash_worker", str(folder), action]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None and process.stderr is not None
            if process.stdout.readline() != "ready\n":
                raise AssertionError(process.stderr.read())
            began = time.monotonic()
            try:
                process.wait(self._random.uniform(0, 1.1 * self._lasts[action]))
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
            process.wait(_LONGEST)
            took = time.monotonic() - began
            said = process.stdout.read().split()
            if process.returncode == -signal.SIGKILL:
                self.kills[action] += 1
            elif process.returncode == 0:
                self.finished[action] += 1
                self._lasts[action] = 0.8 * self._lasts[action] + 0.2 * took
            else:
                raise AssertionError(process.stderr.read())
            self._lasts[action] *= 1.02 if process.returncode else 1.0
        if said[:1] == ["committed"]:
            self.machine.committed[bytes.fromhex(said[1])] = before
