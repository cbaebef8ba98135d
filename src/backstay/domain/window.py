"""The backup window: when jobs may start and run."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta

from backstay.domain.errors import UsageError
from backstay.domain.time_zone import instant_of, time_zone

EVERY_DAY = frozenset(range(7))
_DAY = timedelta(days=1)


@dataclass(frozen=True)
class BackupWindow:
    """Opens at a wall-clock time on some weekdays, and closes so much time later.

    The length is time that passes, also in a night in which clocks change. A window that would open at a
    time that is skipped opens at the next instant that exists; one whose time is shown twice opens at the
    first. A length of zero means that there is no window: it is never closed.

    Attributes:
        start: wall-clock time at which it opens.
        length: from zero to 24 hours.
        weekdays: days on which it opens, Monday is 0.
        time_zone: IANA name of the time zone of `start`.

    Raises:
        UsageError: the length is not within these bounds, no or unknown weekdays, unknown time zone.
    """

    start: time = time(0)
    length: timedelta = timedelta(0)
    weekdays: frozenset[int] = EVERY_DAY
    time_zone: str = "UTC"

    def __post_init__(self) -> None:
        if not timedelta(0) <= self.length <= _DAY:
            raise UsageError(
                f"a backup window cannot be {self.length} long", hint="give it from 0 (no window) to 24 hours"
            )
        if not self.weekdays or not self.weekdays <= EVERY_DAY:
            raise UsageError(
                "the backup window names no weekday, or an unknown one",
                hint="number the days from 0, Monday, to 6",
            )
        if self.start.tzinfo is not None:
            raise UsageError(
                "the start of the backup window has a time zone of its own",
                hint="give the window's time zone alone",
            )
        time_zone(self.time_zone)

    @property
    def is_unlimited(self) -> bool:
        """Whether there is no window at all."""
        return not self.length

    def contains(self, instant: datetime) -> bool:
        """Whether it is open at `instant` (aware); the moment of closing is outside."""
        return self.is_unlimited or self.closes_at(instant) is not None

    def closes_at(self, instant: datetime) -> datetime | None:
        """When the window that is open at `instant` closes, in UTC; None where none is open or is needed.

        Windows that follow each other without a gap close one by one.
        """
        if self.is_unlimited:
            return None
        closings = [opening + self.length for opening in self._openings(instant, 2) if opening <= instant]
        return max((closing for closing in closings if instant < closing), default=None)

    def opens_after(self, instant: datetime) -> datetime | None:
        """The first opening later than `instant` (aware), in UTC; None where no window is needed."""
        if self.is_unlimited:
            return None
        return next(opening for opening in self._openings(instant, 9) if opening > instant)

    def _openings(self, instant: datetime, days_ahead: int) -> Iterator[datetime]:
        zone = time_zone(self.time_zone)
        today = instant.astimezone(zone).date()
        for days in range(-2, days_ahead):
            day = today + days * _DAY
            if day.weekday() in self.weekdays:
                yield instant_of(datetime.combine(day, self.start), zone).astimezone(UTC)
