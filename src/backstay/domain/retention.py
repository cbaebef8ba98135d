"""Which restore points stay and which go, each with its reasons.

The rules, for each backup set by itself:

- a point on legal hold, and one whose time lies in the future (the clock went back), always stays;
- the newest point always stays, and so does the newest complete one;
- every point of the last `keep_days` days stays;
- of each of the newest `daily` days that have points, one point stays; likewise weeks, months and years.
  It is the newest complete point of the period, or the newest where none is complete.

Planning again over the points that stay, at the same time, keeps all of them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from backstay.domain.errors import UsageError
from backstay.domain.time_zone import time_zone

_PERIODS: tuple[tuple[str, str, Callable[[datetime], str]], ...] = (
    ("daily", "day", lambda local: f"{local:%Y-%m-%d}"),
    ("weekly", "week", lambda local: f"{local:%G-W%V}"),
    ("monthly", "month", lambda local: f"{local:%Y-%m}"),
    ("yearly", "year", lambda local: f"{local:%Y}"),
)


@dataclass(frozen=True)
class RetentionPolicy:
    """How many restore points to keep.

    Attributes:
        keep_days: every point younger than this many times 24 hours stays.
        daily, weekly, monthly, yearly: so many of the newest days, ISO weeks, months and years that have
            points keep one each.
        time_zone: IANA name; says where a day begins.

    Raises:
        UsageError: a count is negative, the time zone is unknown, or the policy keeps nothing at all.
    """

    keep_days: int = 0
    daily: int = 0
    weekly: int = 0
    monthly: int = 0
    yearly: int = 0
    time_zone: str = "UTC"

    def __post_init__(self) -> None:
        counts = (self.keep_days, self.daily, self.weekly, self.monthly, self.yearly)
        if min(counts) < 0:
            raise UsageError(
                "a retention count is below zero", hint="use 0 to switch off a part of the retention"
            )
        if not any(counts):
            raise UsageError(
                "the retention would keep nothing",
                hint="keep some days, weeks, months or years, for example 30 days",
            )
        if self.keep_days > 999_999:
            raise UsageError(
                f"{self.keep_days} days of retention are more than 999999", hint="keep fewer days"
            )
        time_zone(self.time_zone)


@dataclass(frozen=True)
class PointInTime:
    """A restore point, as retention sees it.

    Attributes:
        id: its name.
        set: the backup set it belongs to.
        time: when it was committed, by the server's clock; aware of its time zone.
        held: under legal hold.
        complete: every file of the set was captured (the job had no warnings).
    """

    id: str
    set: str
    time: datetime
    held: bool = False
    complete: bool = True


@dataclass(frozen=True)
class Decision:
    """Whether a restore point stays, and all reasons for that."""

    point: PointInTime
    keep: bool
    reasons: tuple[str, ...]


def plan(points: Sequence[PointInTime], policy: RetentionPolicy, now: datetime) -> list[Decision]:
    """Decides for each point; deletes nothing.

    Args:
        points: of one or more sets, in any order.
        policy: the same for all of them.
        now: the server's time, aware of its time zone.

    Returns:
        One decision for each point: by set, the newest first.
    """
    sets: dict[str, list[PointInTime]] = {}
    for point in sorted(points, key=lambda p: (p.time, p.id), reverse=True):
        sets.setdefault(point.set, []).append(point)
    return [decision for name in sorted(sets) for decision in _plan_set(sets[name], policy, now)]


def _plan_set(points: list[PointInTime], policy: RetentionPolicy, now: datetime) -> list[Decision]:
    """`points` are of one set, the newest first."""
    past = [point for point in points if point.time <= now]
    stay: dict[str, list[str]] = {point.id: [] for point in points}
    go: dict[str, list[str]] = {point.id: [] for point in points}
    for point in points:
        if point.held:
            stay[point.id].append("on legal hold")
        if point.time > now:
            stay[point.id].append("its time lies in the future: the clock went back")
    if past:
        stay[past[0].id].append("newest of its set")
    newest_complete = next((point for point in past if point.complete), None)
    if newest_complete is not None and newest_complete is not past[0]:
        stay[newest_complete.id].append("newest complete one of its set")
    if policy.keep_days:
        for point in past:
            if now - point.time <= timedelta(days=policy.keep_days):
                stay[point.id].append(f"of the last {policy.keep_days} days")
            else:
                go[point.id].append(f"older than {policy.keep_days} days")
    for rule, period, label in _PERIODS:
        count: int = getattr(policy, rule)
        if count:
            _judge_periods(past, policy, (rule, period, label, count), stay, go)
    return [Decision(point, bool(stay[point.id]), tuple(stay[point.id] or go[point.id])) for point in points]


def _judge_periods(
    past: list[PointInTime],
    policy: RetentionPolicy,
    judged_by: tuple[str, str, Callable[[datetime], str], int],
    stay: dict[str, list[str]],
    go: dict[str, list[str]],
) -> None:
    rule, period, label, count = judged_by
    zone = time_zone(policy.time_zone)
    members: dict[str, list[PointInTime]] = {}
    for point in past:
        members.setdefault(label(point.time.astimezone(zone)), []).append(point)
    for number, (name, found) in enumerate(members.items(), start=1):
        if number > count:
            for point in found:
                go[point.id].append(f"{period} {name} is before the newest {count} {rule}")
            continue
        chosen = next((point for point in found if point.complete), found[0])
        which = "newest"
        if chosen is not found[0]:
            which = "newest complete one"
        elif not chosen.complete:
            which = "newest, none being complete,"
        stay[chosen.id].append(f"{which} of {period} {name} ({number} of {count} {rule})")
        for point in found:
            if point is not chosen:
                better = "complete" if chosen.complete and not point.complete else "newer"
                go[point.id].append(f"{period} {name} is kept by the {better} point {chosen.id}")
