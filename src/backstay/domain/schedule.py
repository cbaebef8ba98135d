"""Cron-like rules in a time zone.

Five fields, as in crontab(5): minute, hour, day of month, month, day of week. Each is `*` or a list of
numbers, ranges and steps (`1-5`, `*/15`, `8-18/2`); months and weekdays also by their English names; Sunday
is 0 or 7. Where both day fields are restricted (neither begins with `*`), a day that fits either will do.
`@hourly`, `@daily`, `@weekly`, `@monthly` and `@yearly` are short for the usual rules.

When clocks change, a time that is skipped runs once at the next instant that exists, and a time that is
shown twice runs at the first of the two only.
"""

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import groupby, islice

from backstay.domain.errors import UsageError
from backstay.domain.time_zone import instant_of, time_zone

_NICKNAMES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_WEEKDAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]
_DAYS_IN_MONTH = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)

# The calendar repeats after 28 years but for the century: no rule waits longer than 40.
_LOOK_AHEAD = timedelta(days=40 * 366)


@dataclass(frozen=True)
class _Field:
    name: str
    first: int
    last: int
    names: Sequence[str] = ()


_FIELDS = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of month", 1, 31),
    _Field("month", 1, 12, _MONTHS),
    _Field("day of week", 0, 7, _WEEKDAYS),
)


class Schedule:
    """When to run: one rule in one time zone; immutable.

    Args:
        rule: five cron fields, or a nickname such as "@daily".
        zone: IANA name of the time zone in which the rule is read.

    Raises:
        UsageError: the rule cannot be understood or never runs, or the time zone is unknown.
    """

    def __init__(self, rule: str, zone: str = "UTC") -> None:
        self.rule = " ".join(rule.split())
        self.time_zone = zone
        self._zone = time_zone(zone)
        fields = _NICKNAMES.get(self.rule.lower(), self.rule).split()
        if len(fields) != len(_FIELDS):
            raise UsageError(
                f"the schedule {rule!r} has {len(fields)} fields instead of 5",
                hint="write minute, hour, day of month, month and day of week, for example 30 22 * * mon-fri",
            )
        minutes, hours, days, months, weekdays = (
            _values(text, field, rule) for text, field in zip(fields, _FIELDS, strict=True)
        )
        self._times = [time(hour, minute) for hour in sorted(hours) for minute in sorted(minutes)]
        self._days = days
        self._months = months
        self._weekdays = {number % 7 for number in weekdays}
        self._either_day = not fields[2].startswith("*") and not fields[4].startswith("*")
        if not self._either_day and min(days) > max(_DAYS_IN_MONTH[month - 1] for month in months):
            raise UsageError(f"the schedule {rule!r} never runs", hint="none of its months has such a day")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Schedule) and (self.rule, self.time_zone) == (other.rule, other.time_zone)

    def __hash__(self) -> int:
        return hash((self.rule, self.time_zone))

    def __repr__(self) -> str:
        return f"Schedule({self.rule!r}, {self.time_zone!r})"

    def next_runs(self, after: datetime, count: int) -> list[datetime]:
        """The first `count` instants later than `after`, in UTC, ascending and without repetition.

        Args:
            after: aware of its time zone.
            count: how many; fewer come back only where the calendar ends.
        """
        return list(islice(self.runs(after), count))

    def runs(self, after: datetime) -> Iterator[datetime]:
        """As `next_runs`, without an end."""
        start = after.astimezone(self._zone).replace(tzinfo=None)
        previous = after.astimezone(UTC)
        day = start.date()
        patience = day
        while day - patience <= _LOOK_AHEAD and day < date.max:
            if self._fits(day):
                for at in self._times:
                    wall_clock = datetime.combine(day, at)
                    if wall_clock < start - timedelta(minutes=1):
                        continue
                    instant = instant_of(wall_clock, self._zone)
                    if instant > previous:
                        yield instant
                        previous = instant
                        patience = day
            day += timedelta(days=1)

    def _fits(self, day: date) -> bool:
        if day.month not in self._months:
            return False
        fits_month = day.day in self._days
        fits_week = day.isoweekday() % 7 in self._weekdays
        return fits_month or fits_week if self._either_day else fits_month and fits_week


def runs_of(schedules: Sequence[Schedule], after: datetime) -> Iterator[datetime]:
    """The instants later than `after` at which any of `schedules` runs, in UTC, without an end."""
    merged = heapq.merge(*(schedule.runs(after) for schedule in schedules))
    return (instant for instant, _ in groupby(merged))


def next_runs(schedules: Sequence[Schedule], after: datetime, count: int) -> list[datetime]:
    """The first `count` of `runs_of`."""
    return list(islice(runs_of(schedules, after), count))


def _values(text: str, field: _Field, rule: str) -> set[int]:
    values: set[int] = set()
    for part in text.split(","):
        span, slash, step_text = part.partition("/")
        low_text, dash, high_text = span.partition("-")
        everything = span == "*"
        low = field.first if everything else _number(low_text, field)
        high = _number(high_text, field) if dash else low
        if everything or (slash and not dash):
            high = 6 if field.last == 7 else field.last
        step = int(step_text) if _is_short_number(step_text) else None
        if low is None or high is None or low > high or (slash and not step):
            raise UsageError(
                f"the schedule {rule!r} cannot be understood: {part!r} is no {field.name}",
                hint=f"write * or numbers from {field.first} to {field.last}; also 1,2 and 1-5 and */2",
            )
        values.update(range(low, high + 1, step or 1))
    return values


def _number(text: str, field: _Field) -> int | None:
    if text.lower() in field.names:
        return field.names.index(text.lower()) + field.first
    return int(text) if _is_short_number(text) and field.first <= int(text) <= field.last else None


def _is_short_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 2
