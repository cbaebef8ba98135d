"""Which scheduled time is due, and when it may begin."""

from datetime import UTC, datetime, time, timedelta
from itertools import takewhile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backstay.domain.due import Due, last_due, upcoming
from backstay.domain.schedule import Schedule
from backstay.domain.window import BackupWindow

NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)
NIGHT = BackupWindow(time(22), timedelta(hours=8))


def _at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def test_a_time_within_the_window_begins_at_once() -> None:
    """It has until the window closes."""
    due = last_due([Schedule("0 23 * * *")], NIGHT, NOON, _at("2026-11-25 23:00"))
    assert due == Due(_at("2026-11-25 23:00"), None, _at("2026-11-26 06:00"), False)


def test_a_time_outside_waits_for_the_opening() -> None:
    """And has until that window closes."""
    due = last_due([Schedule("0 13 * * *")], NIGHT, NOON, _at("2026-11-25 13:00"))
    assert due == Due(_at("2026-11-25 13:00"), _at("2026-11-25 22:00"), _at("2026-11-26 06:00"), False)


def test_a_time_outside_gives_way_to_one_at_the_opening() -> None:
    """An hourly schedule asks at the opening, and not before."""
    hourly = [Schedule("@hourly")]
    assert last_due(hourly, NIGHT, NOON, _at("2026-11-25 21:30")) is None
    due = last_due(hourly, NIGHT, NOON, _at("2026-11-25 22:00"))
    assert due is not None
    assert (due.scheduled_for, due.not_before) == (_at("2026-11-25 22:00"), None)


def test_without_a_window_nothing_closes() -> None:
    """A window of length zero is none."""
    due = last_due([Schedule("@hourly")], BackupWindow(), NOON, _at("2026-11-25 15:20"))
    assert due == Due(_at("2026-11-25 15:00"), None, None, True)


def test_a_year_of_minutes_is_looked_through_at_once() -> None:
    """However long nobody looked, the last time is found without going through all of them."""
    since = NOON - timedelta(days=360)
    due = last_due([Schedule("* * * * *")], BackupWindow(), since, NOON)
    assert due is not None
    assert due.scheduled_for == NOON


@pytest.mark.timeout(20)
def test_a_missed_night_is_found_behind_a_day_of_times_outside() -> None:
    """What comes after the window and gives way hides nothing that was missed before it."""
    due = last_due([Schedule("@hourly")], NIGHT, _at("2026-11-24 20:00"), NOON)
    assert due is not None
    assert (due.scheduled_for, due.not_after) == (_at("2026-11-25 05:00"), _at("2026-11-25 06:00"))


RULES = st.lists(
    st.sampled_from(["@hourly", "*/20 * * * *", "30 22 * * *", "0 3 * * mon", "15 6,18 * * *", "@daily"]),
    min_size=1,
    max_size=3,
    unique=True,
)
WINDOWS = st.builds(
    BackupWindow,
    st.times().map(lambda at: at.replace(second=0, microsecond=0)),
    st.integers(0, 24).map(lambda hours: timedelta(hours=hours)),
    st.sets(st.integers(0, 6), min_size=1).map(frozenset),
    st.sampled_from(["UTC", "Europe/Berlin", "Australia/Lord_Howe"]),
)
MOMENTS = st.datetimes(datetime(2026, 1, 1), datetime(2027, 12, 1)).map(lambda at: at.replace(tzinfo=UTC))


@settings(max_examples=60, deadline=None)
@given(RULES, WINDOWS, MOMENTS, st.lists(st.integers(1, 60 * 24), min_size=1, max_size=8))
def test_whoever_looks_often_or_seldom_misses_nothing_that_is_last(
    rules: list[str], window: BackupWindow, start: datetime, pauses: list[int]
) -> None:
    """Looks at any moments find times that `upcoming` names, each once, in order; and always the last one."""
    schedules = [Schedule(rule, "Europe/Berlin") for rule in rules]
    ends = start + timedelta(minutes=sum(pauses))
    foretold = [
        due.scheduled_for
        for due in takewhile(lambda due: due.scheduled_for <= ends, upcoming(schedules, window, start))
    ]
    found: list[datetime] = []
    since = start
    for pause in pauses:
        now = since + timedelta(minutes=pause)
        due = last_due(schedules, window, since, now)
        if due is not None:
            found.append(due.scheduled_for)
            if due.not_before is not None:
                assert window.contains(due.not_before)
        assert foretold == [] or due is None or due.scheduled_for in foretold
        last = [moment for moment in foretold if since < moment <= now]
        assert (due.scheduled_for if due else None) == (last[-1] if last else None)
        since = now
    assert found == sorted(set(found))
