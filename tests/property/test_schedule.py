"""Schedules: what must hold in every time zone, and agreement with cronsim where clocks do not change."""

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from backstay.domain.errors import UsageError
from backstay.domain.schedule import Schedule, next_runs
from backstay.domain.time_zone import instant_of

ZONES = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "America/St_Johns",
    "Pacific/Apia",
    "Africa/Cairo",
    "Asia/Kathmandu",
]


def field(first: int, last: int) -> st.SearchStrategy[str]:
    """One cron field."""
    number = st.integers(first, last)
    span = st.tuples(number, number).map(lambda pair: f"{min(pair)}-{max(pair)}")
    wide = st.tuples(number, number).filter(lambda pair: pair[0] < pair[1]).map(lambda p: f"{p[0]}-{p[1]}")
    step = st.tuples(wide | st.just("*"), st.integers(1, last)).map(lambda pair: f"{pair[0]}/{pair[1]}")
    single = st.one_of(st.just("*"), number.map(str), span, step)
    return single | st.lists(number.map(str) | span, min_size=2, max_size=3).map(",".join)


rules = st.tuples(field(0, 59), field(0, 23), field(1, 28), field(1, 12), field(0, 6)).map(" ".join)
busy = st.tuples(field(0, 59), field(0, 23)).map(lambda pair: f"{pair[0]} {pair[1]} * * *")
zones = st.sampled_from(ZONES)
instants = st.datetimes(datetime(2009, 1, 1), datetime(2040, 1, 1)).map(lambda d: d.replace(tzinfo=UTC))


@st.composite
def near_clock_changes(draw: st.DrawFn) -> tuple[str, datetime]:
    """A time zone, and an instant within a few hours of a change of its clocks."""
    zone = draw(zones)
    start = draw(instants)
    day = start
    for _ in range(370):
        following = day + timedelta(days=1)
        if following.astimezone(ZoneInfo(zone)).utcoffset() != day.astimezone(ZoneInfo(zone)).utcoffset():
            break
        day = following
    return zone, day + timedelta(minutes=draw(st.integers(-300, 1800)))


def times_of_day(rule: str) -> set[time]:
    """The wall-clock times at which a rule that runs every day runs."""
    midnight = datetime(2026, 1, 1, tzinfo=UTC)
    runs = Schedule(rule).next_runs(midnight - timedelta(seconds=1), 1440)
    return {run.time() for run in runs if run < midnight + timedelta(days=1)}


@settings(max_examples=150, deadline=None)
@given(rules, near_clock_changes())
def test_runs_ascend_and_continue(rule: str, where: tuple[str, datetime]) -> None:
    """Runs come after the instant asked, each once, and asking again from a run continues the same list."""
    zone, after = where
    schedule = Schedule(rule, zone)
    runs = schedule.next_runs(after, 6)
    assert all(earlier < later for earlier, later in zip([after, *runs], runs, strict=False))
    assert schedule.next_runs(runs[2], 3) == runs[3:]
    assert schedule.next_runs(runs[0] - timedelta(microseconds=1), 1) == runs[:1]


@settings(max_examples=60, deadline=None)
@given(busy, near_clock_changes())
@example("30 2 * * *", ("Europe/Berlin", datetime(2026, 3, 28, 20, tzinfo=UTC)))
@example("30 2 * * *", ("Europe/Berlin", datetime(2026, 10, 24, 20, tzinfo=UTC)))
@example("0 12 * * *", ("Pacific/Apia", datetime(2011, 12, 29, 20, tzinfo=UTC)))
def test_every_wall_clock_time_runs_once(rule: str, where: tuple[str, datetime]) -> None:
    """Over a day and more, runs are exactly the minutes shown for the first time, and the ends of skips.

    The oracle walks all minutes of UTC and looks at the clock; it knows nothing of folds.
    """
    zone, after = where
    after = after.replace(second=0, microsecond=0)
    schedule, info = Schedule(rule, zone), ZoneInfo(zone)
    wanted = times_of_day(rule)

    def shown(instant: datetime) -> datetime:
        return instant.astimezone(info).replace(tzinfo=None)

    begin = after - timedelta(hours=3)
    minutes = 30 * 60
    latest, expected = shown(begin), set()
    for minute in range(1, minutes):
        instant = begin + timedelta(minutes=minute)
        now = shown(instant)
        passed = [
            latest + timedelta(minutes=m) for m in range(1, int((now - latest) / timedelta(minutes=1)) + 1)
        ]
        if any(wall_clock.time() in wanted for wall_clock in passed) and instant > after:
            expected.add(instant)
        latest = max(latest, now)
    end = begin + timedelta(minutes=minutes - 1)
    runs = {run for run in schedule.next_runs(after, len(expected) + 1) if run <= end}
    assert runs == expected


@settings(max_examples=200, deadline=None)
@given(rules, instants)
def test_cronsim_agrees_in_utc(rule: str, after: datetime) -> None:
    """Where clocks never change, an independent cron gives the same times."""
    cronsim = pytest.importorskip("cronsim")
    peer = cronsim.CronSim(rule, after)
    assert Schedule(rule).next_runs(after, 5) == [next(peer) for _ in range(5)]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(busy, zones), max_size=3), instants)
def test_several_schedules_run_at_the_union_of_their_times(pairs: list, after: datetime) -> None:
    """Two schedules at the same instant give one run."""
    schedules = [Schedule(rule, zone) for rule, zone in pairs]
    union = {run for schedule in schedules for run in schedule.next_runs(after, 8)}
    assert next_runs(schedules, after, 8) == sorted(union)[:8]


@given(
    zones, st.datetimes(datetime(2009, 1, 1), datetime(2040, 1, 1)), st.timedeltas(timedelta(0), timedelta(3))
)
def test_later_wall_clock_times_are_no_earlier_instants(zone: str, at: datetime, by: timedelta) -> None:
    """The map from wall-clock times to instants never goes back."""
    info = ZoneInfo(zone)
    assert instant_of(at, info) <= instant_of(at + by, info)


@given(st.text(max_size=12) | st.text("0123456789*/-, @jansu", max_size=14))
def test_any_text_is_a_schedule_or_refused(text: str) -> None:
    """Nonsense gives a usage error with a hint."""
    try:
        schedule = Schedule(text)
    except UsageError as error:
        assert error.hint
        return
    assert schedule.next_runs(datetime(2026, 1, 1, tzinfo=UTC), 1)
