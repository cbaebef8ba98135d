"""The real agent with a seam: `python -m backstay.testing.agent_worker FOLDER SEAM`, SEAM as JSON.

It is `backstay agent run` for the agent in FOLDER, but dies or waits exactly where it is told to, may have
another clock, machine or boot than this machine, and asks for work and reports often, so that nobody waits.
"""

import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import msgspec

from backstay.agent import access, daemon, machine, reporter
from backstay.agent.settings import agent_folder
from backstay.cli.main import main as backstay
from backstay.protocol import client
from backstay.storage.gateway import GatewayStorage

PAUSED, GO_ON = "paused", "go-on"
"""Files in the agent's folder: it waits at its place; it may go on."""

_REPORT_SECONDS = 0.2
_ANSWER_SECONDS = 5.0


class Seam(msgspec.Struct, frozen=True):
    """What is different from the real agent.

    Places are "<what> <edge> [<nth>]": what is the name of a step, "put packs", "put index", "put manifests"
    or "outcome"; edge is "start" or "end"; the nth time counts, by default the first.

    Attributes:
        kill_at: place at which the process kills itself.
        pause_at: places at which it waits until it may go on.
        clock_shift: seconds that its clock is ahead.
        machine_id, boot_id: instead of this machine's; empty: as they are.
        poll_seconds: how long the server may hold its question for work open.
    """

    kill_at: str = ""
    pause_at: tuple[str, ...] = ()
    clock_shift: float = 0.0
    machine_id: str = ""
    boot_id: str = ""
    poll_seconds: float = 0.3


class _Places:
    """Knows where the process is, and does what was asked for there."""

    def __init__(self, seam: Seam, folder: Path) -> None:
        self._seam = seam
        self._folder = folder
        self._seen: Counter[str] = Counter()

    def at(self, what: str, edge: str) -> None:
        """The process has come to a place."""
        place = f"{what} {edge}"
        self._seen[place] += 1
        names = {f"{place} {self._seen[place]}"} | ({place} if self._seen[place] == 1 else set())
        if self._seam.kill_at in names:
            os.kill(os.getpid(), signal.SIGKILL)
        if names.intersection(self._seam.pause_at):
            (self._folder / PAUSED).write_text(place)
            while not (self._folder / GO_ON).exists():
                time.sleep(0.02)
            (self._folder / PAUSED).unlink()
            (self._folder / GO_ON).unlink()

    def around(self, owner: Any, method: str, name: Callable[..., str]) -> None:
        """Be at the places around each call of a method."""
        real = getattr(owner, method)

        @wraps(real)
        def call(*arguments: Any, **named: Any) -> Any:
            what = name(*arguments)
            self.at(what, "start")
            result = real(*arguments, **named)
            self.at(what, "end")
            return result

        setattr(owner, method, call)


def _watch(places: _Places) -> None:
    started, ended = reporter.Reporter.step_started, reporter.Reporter.step_ended

    def step_started(self: reporter.Reporter, name: str) -> None:
        started(self, name)
        places.at(name, "start")

    def step_ended(self: reporter.Reporter, step: Any) -> None:
        ended(self, step)
        places.at(step.name, "end")

    reporter.Reporter.step_started = step_started  # type: ignore[method-assign]
    reporter.Reporter.step_ended = step_ended  # type: ignore[method-assign]
    places.around(GatewayStorage, "put", lambda storage, name, data: f"put {name.partition('/')[0]}")
    places.around(daemon._Daemon, "_tell", lambda *_: "outcome")


def _shift_clock(seconds: float) -> None:
    real_time, real_ns = time.time, time.time_ns
    time.time = lambda: real_time() + seconds
    time.time_ns = lambda: real_ns() + int(seconds * 1e9)


def main(folder: Path, seam: Seam) -> int:
    """Be the agent until stopped; returns its exit code."""
    os.environ["BACKSTAY_AGENT"] = str(folder)
    assert agent_folder() == folder
    daemon._POLL_SECONDS = seam.poll_seconds
    daemon._FIRST_PAUSE, daemon._LONGEST_PAUSE = 0.2, 0.5
    daemon._OUTCOME_PAUSE = 0.5
    access.LONGEST_DELAY = 1.0
    client.REPORT_SECONDS = client.POLL_SLACK_SECONDS = _ANSWER_SECONDS
    reporter.PERIOD_SECONDS = _REPORT_SECONDS
    if seam.clock_shift:
        _shift_clock(seam.clock_shift)
    if seam.machine_id:
        machine.machine_id = lambda: seam.machine_id
    if seam.boot_id:
        machine.boot_id = lambda: seam.boot_id
    _watch(_Places(seam, folder))
    return backstay(["agent", "run"])


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), msgspec.json.decode(sys.argv[2], type=Seam)))
