"""Silence that was listened to: a clock that is set forward must not make anybody silent.

Leases end at times of the clock, so that every server process can read them. A clock jumps (NTP steps it, a
machine is resumed), maybe on one machine alone; the monotonic clock of a process does not. So a job is
given up only when its lease is over *and* this process has listened for it long enough.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog

Monotonic = Callable[[], float]

_JUMP = timedelta(seconds=30)
_log = structlog.get_logger()


@dataclass
class ClockWatch:
    """Sees whether the clock was set forward between two looks at it."""

    monotonic: Monotonic = time.monotonic
    _last: tuple[datetime, float] | None = None

    def jumped(self, now: datetime) -> bool:
        """Whether more time has passed by the clock than really did since the last look."""
        last, self._last = self._last, (now, self.monotonic())
        if last is None:
            return False
        ahead = (now - last[0]) - timedelta(seconds=self._last[1] - last[1])
        return ahead > _JUMP


@dataclass(frozen=True)
class RunningLease:
    """A job that runs, and the lease that it had at some look; a later report changes it."""

    job: int
    epoch: int
    until: datetime | None


@dataclass
class Silence:
    """Of one server process: since when nothing was heard of each job that runs."""

    monotonic: Monotonic = time.monotonic
    _since: dict[RunningLease, float] = field(default_factory=dict)
    _clock: ClockWatch = field(init=False)
    _jumped: bool = False

    def __post_init__(self) -> None:
        self._clock = ClockWatch(self.monotonic)

    def listen(self, running: Iterable[RunningLease], now: datetime) -> None:
        """Look at all jobs that run: those whose lease is another one have been heard of."""
        if self._clock.jumped(now):
            _log.warning("the clock was set forward: leases that it ends are given time to be renewed")
            self._jumped = True
        at = self.monotonic()
        self._since = {lease: self._since.get(lease, at) for lease in running}

    def was_listened_to(self, lease: RunningLease, *, whole: timedelta, least: timedelta) -> bool:
        """Whether nothing was heard of a job for long enough.

        Args:
            whole: how long the job may be silent.
            least: so long is enough while the clock can be believed, which says how long the job was silent
                before this process began to listen.
        """
        since = self._since.get(lease)
        enough = whole if self._jumped else min(whole, least)
        return since is not None and self.monotonic() - since >= enough.total_seconds()
