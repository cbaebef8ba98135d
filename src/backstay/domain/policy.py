"""The backup policy: everything that is decided about a backup set before a job runs.

Policies are written in layers (built-in, whole fleet, group, file server, backup set). A layer gives only the
values that it wants to set; `resolve` lays them over each other, and each value of the outcome says which
layer it came from.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo

from backstay.domain.errors import UsageError
from backstay.domain.retention import RetentionPolicy
from backstay.domain.schedule import Schedule
from backstay.domain.time_zone import time_zone
from backstay.domain.window import EVERY_DAY, BackupWindow

BUILT_IN = "built-in"


@dataclass(frozen=True)
class BandwidthLimit:
    """A limit that holds at some times of some weekdays.

    Attributes:
        bytes_per_second: the limit; zero allows nothing to be sent meanwhile.
        begins, ends: wall-clock times; equal means the whole day, `ends` before `begins` goes past midnight
            into the day after.
        weekdays: days on which it begins, Monday is 0.
        time_zone: IANA name of the time zone of both times.

    Raises:
        UsageError: a limit below zero, no or unknown weekdays, unknown time zone.
    """

    bytes_per_second: int
    begins: time = time(0)
    ends: time = time(0)
    weekdays: frozenset[int] = EVERY_DAY
    time_zone: str = "UTC"

    def __post_init__(self) -> None:
        if self.bytes_per_second < 0:
            raise UsageError(
                "a bandwidth limit is below zero", hint="give bytes per second, for example 10MiB/s"
            )
        if not self.weekdays or not self.weekdays <= EVERY_DAY:
            raise UsageError(
                "a bandwidth limit names no weekday, or an unknown one",
                hint="number the days from 0, Monday, to 6",
            )
        time_zone(self.time_zone)

    def holds_at(self, instant: datetime) -> bool:
        """Whether it applies at `instant` (aware), by what clocks show then."""
        local = instant.astimezone(ZoneInfo(self.time_zone))
        now = local.time()
        today = local.weekday() in self.weekdays
        yesterday = (local.weekday() - 1) % 7 in self.weekdays
        if self.begins < self.ends:
            return today and self.begins <= now < self.ends
        if self.begins == self.ends == time(0):
            return today
        return (today and now >= self.begins) or (yesterday and now < self.ends)


@dataclass(frozen=True)
class Script:
    """A command that runs on the file server before or after a backup.

    Attributes:
        command: program and arguments; no shell reads them.
        time_limit: it is ended after so much time, which counts as a failure.
        failure_stops_job: of a script before the backup: whether its failure fails the job.

    Raises:
        UsageError: no program, or a time limit that is not above zero.
    """

    command: tuple[str, ...]
    time_limit: timedelta = timedelta(minutes=10)
    failure_stops_job: bool = False

    def __post_init__(self) -> None:
        if not self.command or not self.command[0]:
            raise UsageError("a script has no command", hint="give the program and its arguments")
        if self.time_limit <= timedelta(0):
            raise UsageError(
                f"the script {self.command[0]} has no time to run",
                hint="give a time limit above zero, for example 10min",
            )


@dataclass(frozen=True)
class Retries:
    """What a job may go through before it fails for good; alerts come after the last attempt only.

    Attributes:
        count: how often a failed job is tried again.
        delay: how long after each failure.
        network_patience: how long an agent tries to reach its storage again within one attempt.

    Raises:
        UsageError: one of these is below zero.
    """

    count: int = 3
    delay: timedelta = timedelta(minutes=10)
    network_patience: timedelta = timedelta(hours=1)

    def __post_init__(self) -> None:
        if self.count < 0 or min(self.delay, self.network_patience) < timedelta(0):
            raise UsageError("the retries are below zero", hint="use a count of 0 for no retries")


@dataclass(frozen=True)
class BackupPolicy:
    """One policy with every value decided.

    Attributes:
        schedules: when to back up; empty means by hand only.
        window: when scheduled jobs may run.
        retention: which restore points to keep.
        bandwidth: limits; where several hold at once, the lowest counts.
        scripts_before, scripts_after: run in this order around the backup.
        retries: what follows a failure.
        allow_live_scan: whether the live files may be backed up where no recovery point can be made.
        first_full_ignores_window: whether the first backup of a set may run outside the window.
        restart_after_abort: whether a backup aborted by a restart is followed by a fresh one at once.
    """

    schedules: tuple[Schedule, ...] = ()
    window: BackupWindow = field(default_factory=BackupWindow)
    retention: RetentionPolicy = field(default_factory=lambda: RetentionPolicy(30, 0, 8, 12, 3))
    bandwidth: tuple[BandwidthLimit, ...] = ()
    scripts_before: tuple[Script, ...] = ()
    scripts_after: tuple[Script, ...] = ()
    retries: Retries = field(default_factory=Retries)
    allow_live_scan: bool = True
    first_full_ignores_window: bool = False
    restart_after_abort: bool = False

    def bandwidth_at(self, instant: datetime) -> int | None:
        """Bytes per second allowed at `instant` (aware); None where nothing limits them."""
        return min((b.bytes_per_second for b in self.bandwidth if b.holds_at(instant)), default=None)


@dataclass(frozen=True)
class PolicyLayer:
    """The values that one place sets; None leaves a value to the layers below.

    Attributes:
        origin: who set it, in words for the reader: "file server fs1".

    The others are those of `BackupPolicy`.
    """

    origin: str
    schedules: tuple[Schedule, ...] | None = None
    window: BackupWindow | None = None
    retention: RetentionPolicy | None = None
    bandwidth: tuple[BandwidthLimit, ...] | None = None
    scripts_before: tuple[Script, ...] | None = None
    scripts_after: tuple[Script, ...] | None = None
    retries: Retries | None = None
    allow_live_scan: bool | None = None
    first_full_ignores_window: bool | None = None
    restart_after_abort: bool | None = None


@dataclass(frozen=True)
class ResolvedPolicy:
    """A policy, and for each of its values (by attribute name) the origin of the layer that set it."""

    policy: BackupPolicy
    origins: Mapping[str, str]


def resolve(layers: Sequence[PolicyLayer]) -> ResolvedPolicy:
    """Lays `layers` over the built-in policy, the most general first; a later layer replaces whole values.

    Lists (schedules, limits, scripts) are replaced too, never joined: an empty list switches them off.
    """
    names = [one.name for one in fields(BackupPolicy)]
    origins = dict.fromkeys(names, BUILT_IN)
    values: dict[str, object] = {}
    for layer in layers:
        for name in names:
            value = getattr(layer, name)
            if value is not None:
                values[name] = value
                origins[name] = layer.origin
    return ResolvedPolicy(BackupPolicy(**values), origins)  # type: ignore[arg-type]
