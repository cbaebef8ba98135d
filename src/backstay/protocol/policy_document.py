"""A backup policy as it is written down: in the API, in the database, in a ticket.

Every value may be absent, which leaves it to the layers below (domain.policy.resolve).
"""

from collections.abc import Callable
from datetime import time, timedelta
from typing import Annotated, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from backstay.domain.policy import (
    BackupPolicy,
    BandwidthLimit,
    PolicyLayer,
    Retries,
    Script,
)
from backstay.domain.retention import RetentionPolicy
from backstay.domain.schedule import Schedule
from backstay.domain.window import BackupWindow

_T = TypeVar("_T")
_R = TypeVar("_R")

Seconds = Annotated[float, Field(ge=0, le=366 * 86400, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0, le=999_999)]
Weekday = Annotated[int, Field(ge=0, le=6, description="0 is Monday")]
Zone = Annotated[str, Field(max_length=64, examples=["Europe/Berlin"])]
ClockTime = Annotated[str, Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d$", examples=["22:30"])]


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ScheduleDocument(_Document):
    """One cron-like rule in a time zone."""

    rule: str = Field(max_length=200, examples=["30 22 * * mon-fri", "@daily"])
    time_zone: Zone = "UTC"


class WindowDocument(_Document):
    """When scheduled backups may begin: from `starts`, for `seconds`; zero seconds: at any time."""

    starts: ClockTime = "00:00"
    seconds: Seconds = 0
    weekdays: list[Weekday] = Field(default=[0, 1, 2, 3, 4, 5, 6], max_length=7)
    time_zone: Zone = "UTC"


class RetentionDocument(_Document):
    """How many restore points to keep."""

    keep_days: Count = 0
    daily: Count = 0
    weekly: Count = 0
    monthly: Count = 0
    yearly: Count = 0
    time_zone: Zone = "UTC"


class BandwidthDocument(_Document):
    """A limit that holds at some times of some weekdays; equal times mean the whole day."""

    bytes_per_second: Annotated[int, Field(ge=0, le=1 << 50)]
    begins: ClockTime = "00:00"
    ends: ClockTime = "00:00"
    weekdays: list[Weekday] = Field(default=[0, 1, 2, 3, 4, 5, 6], max_length=7)
    time_zone: Zone = "UTC"


class ScriptDocument(_Document):
    """A command that runs on the file server; no shell reads it."""

    command: list[Annotated[str, Field(max_length=4096)]] = Field(min_length=1, max_length=64)
    seconds: Seconds = 600
    failure_stops_job: bool = False


class RetriesDocument(_Document):
    """What follows a failure."""

    count: Annotated[int, Field(ge=0, le=100)] = 3
    delay_seconds: Seconds = 600
    network_patience_seconds: Seconds = 3600


class PolicyValues(_Document):
    """The values that one layer sets; absent ones are left to the layers below."""

    schedules: list[ScheduleDocument] | None = Field(default=None, max_length=32)
    window: WindowDocument | None = None
    retention: RetentionDocument | None = None
    bandwidth: list[BandwidthDocument] | None = Field(default=None, max_length=32)
    scripts_before: list[ScriptDocument] | None = Field(default=None, max_length=16)
    scripts_after: list[ScriptDocument] | None = Field(default=None, max_length=16)
    retries: RetriesDocument | None = None
    allow_live_scan: bool | None = None
    first_full_ignores_window: bool | None = None
    restart_after_abort: bool | None = None

    def layer(self, origin: str) -> PolicyLayer:
        """As a layer of the domain. Raises UsageError where a value makes no sense."""
        return PolicyLayer(
            origin,
            schedules=_each(self.schedules, lambda one: Schedule(one.rule, one.time_zone)),
            window=_window(self.window) if self.window else None,
            retention=RetentionPolicy(**self.retention.model_dump()) if self.retention else None,
            bandwidth=_each(self.bandwidth, _bandwidth),
            scripts_before=_each(self.scripts_before, _script),
            scripts_after=_each(self.scripts_after, _script),
            retries=_retries(self.retries) if self.retries else None,
            allow_live_scan=self.allow_live_scan,
            first_full_ignores_window=self.first_full_ignores_window,
            restart_after_abort=self.restart_after_abort,
        )

    def policy(self) -> BackupPolicy:
        """A whole policy: these values over the built-in ones. Raises UsageError."""
        from backstay.domain.policy import resolve

        return resolve([self.layer("")]).policy

    @classmethod
    def of(cls, policy: BackupPolicy) -> Self:
        """Every value of a resolved policy."""
        window, retries = policy.window, policy.retries
        return cls(
            schedules=[ScheduleDocument(rule=s.rule, time_zone=s.time_zone) for s in policy.schedules],
            window=WindowDocument(
                starts=f"{window.start:%H:%M}",
                seconds=window.length.total_seconds(),
                weekdays=sorted(window.weekdays),
                time_zone=window.time_zone,
            ),
            retention=RetentionDocument(
                keep_days=policy.retention.keep_days,
                daily=policy.retention.daily,
                weekly=policy.retention.weekly,
                monthly=policy.retention.monthly,
                yearly=policy.retention.yearly,
                time_zone=policy.retention.time_zone,
            ),
            bandwidth=[
                BandwidthDocument(
                    bytes_per_second=limit.bytes_per_second,
                    begins=f"{limit.begins:%H:%M}",
                    ends=f"{limit.ends:%H:%M}",
                    weekdays=sorted(limit.weekdays),
                    time_zone=limit.time_zone,
                )
                for limit in policy.bandwidth
            ],
            scripts_before=[_script_document(script) for script in policy.scripts_before],
            scripts_after=[_script_document(script) for script in policy.scripts_after],
            retries=RetriesDocument(
                count=retries.count,
                delay_seconds=retries.delay.total_seconds(),
                network_patience_seconds=retries.network_patience.total_seconds(),
            ),
            allow_live_scan=policy.allow_live_scan,
            first_full_ignores_window=policy.first_full_ignores_window,
            restart_after_abort=policy.restart_after_abort,
        )


def _each(values: list[_T] | None, make: Callable[[_T], _R]) -> tuple[_R, ...] | None:
    return None if values is None else tuple(make(value) for value in values)


def _clock(text: str) -> time:
    return time.fromisoformat(text)


def _window(document: WindowDocument) -> BackupWindow:
    return BackupWindow(
        _clock(document.starts),
        timedelta(seconds=document.seconds),
        frozenset(document.weekdays),
        document.time_zone,
    )


def _bandwidth(document: BandwidthDocument) -> BandwidthLimit:
    return BandwidthLimit(
        document.bytes_per_second,
        _clock(document.begins),
        _clock(document.ends),
        frozenset(document.weekdays),
        document.time_zone,
    )


def _script(document: ScriptDocument) -> Script:
    return Script(tuple(document.command), timedelta(seconds=document.seconds), document.failure_stops_job)


def _script_document(script: Script) -> ScriptDocument:
    return ScriptDocument(
        command=list(script.command),
        seconds=script.time_limit.total_seconds(),
        failure_stops_job=script.failure_stops_job,
    )


def _retries(document: RetriesDocument) -> Retries:
    return Retries(
        document.count,
        timedelta(seconds=document.delay_seconds),
        timedelta(seconds=document.network_patience_seconds),
    )
