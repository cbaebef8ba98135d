"""Schedules: what single rules mean, above all when clocks change."""

from datetime import UTC, datetime

import pytest

from backstay.domain.errors import UsageError
from backstay.domain.schedule import Schedule, next_runs


def runs(rule: str, zone: str, after: str, count: int = 3) -> list[str]:
    """Next runs as short texts in UTC."""
    found = Schedule(rule, zone).next_runs(datetime.fromisoformat(after).replace(tzinfo=UTC), count)
    return [f"{run:%m-%d %H:%M}" for run in found]


def test_a_skipped_time_runs_when_clocks_go_on() -> None:
    """In Berlin 02:30 does not exist on 29 March 2026: it runs at 03:00 summer time, which is 01:00 UTC."""
    expected = ["03-28 01:30", "03-29 01:00", "03-30 00:30"]
    assert runs("30 2 * * *", "Europe/Berlin", "2026-03-27T12:00") == expected


def test_several_skipped_times_run_once() -> None:
    """All quarters of the skipped hour and the first valid minute are one run."""
    expected = ["03-29 00:45", "03-29 01:00", "03-29 01:15"]
    assert runs("*/15 * * * *", "Europe/Berlin", "2026-03-29T00:30") == expected


def test_a_time_shown_twice_runs_once() -> None:
    """In Berlin 02:30 is shown twice on 25 October 2026: the first counts."""
    expected = ["10-24 00:30", "10-25 00:30", "10-26 01:30"]
    assert runs("30 2 * * *", "Europe/Berlin", "2026-10-23T12:00") == expected
    assert runs("30 2 * * *", "Europe/Berlin", "2026-10-25T00:45", 1) == ["10-26 01:30"]


def test_a_day_that_a_country_left_out_runs_once_after_it() -> None:
    """Samoa had no 30 December 2011: its noon runs at the first instant of the 31st."""
    expected = ["12-29 22:00", "12-30 10:00", "12-30 22:00"]
    assert runs("0 12 * * *", "Pacific/Apia", "2011-12-29T12:00") == expected


def test_either_day_field_suffices_where_both_are_restricted() -> None:
    """As in crontab(5): the 13th, and every Friday."""
    assert runs("0 0 13 * fri", "UTC", "2026-11-05T00:00", 4) == [
        "11-06 00:00",
        "11-13 00:00",
        "11-20 00:00",
        "11-27 00:00",
    ]
    assert runs("0 0 */2 * mon", "UTC", "2026-11-01T00:00", 2) == ["11-09 00:00", "11-23 00:00"]


def test_names_nicknames_and_sunday_as_seven() -> None:
    """Names do not mind case; Sunday is 0 and 7."""
    assert runs("0 0 * JAN Mon", "UTC", "2026-11-05T00:00", 1) == ["01-04 00:00"]
    assert runs("0 0 * * 7", "UTC", "2026-11-05T00:00") == runs("@weekly", "UTC", "2026-11-05T00:00")


def test_a_leap_day_is_waited_for() -> None:
    """29 February runs in leap years only, across the year 2100 too."""
    found = Schedule("0 0 29 2 *").next_runs(datetime(2093, 1, 1, tzinfo=UTC), 2)
    assert [run.year for run in found] == [2096, 2104]


def test_several_schedules_are_one_list() -> None:
    """Equal instants of different rules give one run."""
    schedules = [
        Schedule("0 12 * * *", "UTC"),
        Schedule("0 13 * * *", "Europe/Berlin"),
        Schedule("0 6 * * *"),
    ]
    found = next_runs(schedules, datetime(2026, 11, 22, 7, tzinfo=UTC), 3)
    assert [f"{run:%d %H}" for run in found] == ["22 12", "23 06", "23 12"]
    assert next_runs([], datetime(2026, 11, 22, tzinfo=UTC), 3) == []


@pytest.mark.parametrize(
    "rule",
    [
        "",
        "* * * *",
        "60 * * * *",
        "* 24 * * *",
        "* * 0 * *",
        "* * * 13 *",
        "* * * * 8",
        "5-1 * * * *",
        "*/0 * * * *",
    ],
)
def test_a_rule_out_of_bounds_is_refused(rule: str) -> None:
    """Each field has its bounds."""
    with pytest.raises(UsageError) as caught:
        Schedule(rule)
    assert caught.value.hint


def test_a_rule_that_never_runs_is_refused() -> None:
    """30 February never comes."""
    with pytest.raises(UsageError, match="never runs"):
        Schedule("0 0 30 2 *")
