"""Which scheduled time is due, and when what it asks for may begin.

A scheduled time within the window begins at once, and may wait until the window closes. One outside waits
for the next opening; where another scheduled time comes no later than that opening, it gives way to that
one, so that a frequent schedule asks once a window. However many times have passed since somebody last
looked, only the last of them is due: what was missed is made up for once.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import takewhile

from backstay.domain.schedule import Schedule, next_runs, runs_of
from backstay.domain.window import BackupWindow

_LOOKS_BACK = (
    timedelta(hours=1),
    timedelta(days=1),
    timedelta(days=8),
    timedelta(days=32),
    timedelta(days=366),
)
"""How far to look for the last time, step by step: a year of minutes is never gone through."""


@dataclass(frozen=True)
class Due:
    """A scheduled time that asks for a backup.

    Attributes:
        scheduled_for: the time itself, in UTC.
        not_before: the opening of the window that it waits for; None: it need not wait.
        not_after: when that window closes; None: there is no window.
        stands_for_others: other times passed before it that nobody saw.
    """

    scheduled_for: datetime
    not_before: datetime | None
    not_after: datetime | None
    stands_for_others: bool


def last_due(
    schedules: Sequence[Schedule], window: BackupWindow, since: datetime, now: datetime
) -> Due | None:
    """The last scheduled time later than `since` and not later than `now` that asks for a backup.

    Times that lie back more than a year are not looked for.

    Args:
        since, now: aware of their time zones.
    """
    first = next(iter(runs_of(schedules, since)), None)
    if first is None or first > now:
        return None
    for span in _LOOKS_BACK:
        start = max(since, now - span)
        runs = list(takewhile(lambda run: run <= now, runs_of(schedules, start)))
        following = next(iter(next_runs(schedules, now, 1)), None)
        for number in range(len(runs) - 1, -1, -1):
            due = _due_at(runs[number], following, window, stands_for_others=runs[number] > first)
            if due is not None:
                return due
            following = runs[number]
        if start == since:
            break
    return None


def upcoming(schedules: Sequence[Schedule], window: BackupWindow, after: datetime) -> Iterator[Due]:
    """Every scheduled time later than `after` that asks for a backup, without an end."""
    runs = runs_of(schedules, after)
    run = next(runs, None)
    while run is not None:
        following = next(runs, None)
        opening = None if window.contains(run) else window.opens_after(run)
        while opening is not None and following is not None and following <= opening:
            run, following = following, next(runs, None)
        due = _due_at(run, following, window, stands_for_others=False)
        if due is not None:
            yield due
        run = following


def _due_at(
    run: datetime, following: datetime | None, window: BackupWindow, *, stands_for_others: bool
) -> Due | None:
    if window.contains(run):
        return Due(run, None, window.closes_at(run), stands_for_others)
    opening = window.opens_after(run)
    assert opening is not None
    if following is not None and following <= opening:
        return None
    return Due(run, opening, window.closes_at(opening), stands_for_others)
