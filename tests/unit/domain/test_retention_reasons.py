"""Retention: reasons in words, and policies that make no sense."""

from datetime import UTC, datetime, timedelta

import pytest

from backstay.domain.errors import UsageError
from backstay.domain.retention import Decision, PointInTime, RetentionPolicy, plan

NOW = datetime(2026, 11, 22, 13, 0, tzinfo=UTC)


def points(*days_ago: float, **attributes: bool) -> list[PointInTime]:
    """Points of one set, named after their age."""
    return [PointInTime(f"{age:g}d", "set", NOW - timedelta(days=age), **attributes) for age in days_ago]


def by_id(decisions: list[Decision]) -> dict[str, Decision]:
    """Decisions by the name of their point."""
    return {decision.point.id: decision for decision in decisions}


def test_each_decision_says_why() -> None:
    """Reasons name the rule, the period and its place in the count; of what goes, what keeps its period."""
    decided = by_id(plan(points(0, 1, 2, 8, 9, 40), RetentionPolicy(weekly=2, monthly=2), NOW))
    assert decided["0d"].reasons == (
        "newest of its set",
        "newest of week 2026-W47 (1 of 2 weekly)",
        "newest of month 2026-11 (1 of 2 monthly)",
    )
    assert decided["8d"].reasons == ("newest of week 2026-W46 (2 of 2 weekly)",)
    assert decided["1d"].reasons == (
        "week 2026-W47 is kept by the newer point 0d",
        "month 2026-11 is kept by the newer point 0d",
    )
    assert not decided["1d"].keep
    assert decided["40d"].reasons == ("newest of month 2026-10 (2 of 2 monthly)",)


def test_every_point_stays_for_the_days_given() -> None:
    """The last N days keep all, to the second; older ones go with that reason."""
    decided = by_id(plan(points(0, 0.5, 7, 7.0001), RetentionPolicy(keep_days=7), NOW))
    assert [d.point.id for d in decided.values() if d.keep] == ["0d", "0.5d", "7d"]
    assert decided["7.0001d"].reasons == ("older than 7 days",)


def test_a_gap_in_the_backups_costs_no_history() -> None:
    """Only periods that have points count."""
    decided = plan(points(100, 200, 300), RetentionPolicy(daily=2), NOW)
    assert [d.keep for d in decided] == [True, True, False]


def test_incomplete_points_step_back() -> None:
    """A newer incomplete point does not replace a complete one of its day; the reasons say so."""
    history = points(1, complete=True) + points(0.9, complete=False) + points(0)
    decided = by_id(plan(history, RetentionPolicy(daily=5), NOW))
    assert decided["1d"].reasons == ("newest complete one of day 2026-11-21 (2 of 5 daily)",)
    assert decided["0.9d"].reasons == ("day 2026-11-21 is kept by the complete point 1d",)
    lonely = plan(points(3, complete=False), RetentionPolicy(daily=1), NOW)[0]
    assert lonely.reasons[-1] == "newest, none being complete, of day 2026-11-19 (1 of 1 daily)"


def test_held_and_future_points_stay_and_take_no_place() -> None:
    """A clock that went back costs no real point its place."""
    history = points(-3, 0, 1) + points(500, held=True)
    decided = by_id(plan(history, RetentionPolicy(daily=2), NOW))
    assert all(decision.keep for decision in decided.values())
    assert decided["-3d"].reasons == ("its time lies in the future: the clock went back",)
    assert decided["500d"].reasons[0] == "on legal hold"
    assert "newest of its set" in decided["0d"].reasons


def test_a_day_begins_where_the_policy_says() -> None:
    """The same two points are of one day in one time zone and of two days in another."""
    history = [
        PointInTime("late", "set", datetime(2026, 11, 20, 23, 30, tzinfo=UTC)),
        PointInTime("early", "set", datetime(2026, 11, 20, 22, 30, tzinfo=UTC)),
    ]
    assert [d.keep for d in plan(history, RetentionPolicy(daily=9), NOW)] == [True, False]
    history.append(PointInTime("first", "set", datetime(2026, 11, 20, 1, 30, tzinfo=UTC)))
    assert [d.point.id for d in plan(history, RetentionPolicy(daily=9), NOW) if d.keep] == ["late"]
    new_york = RetentionPolicy(daily=9, time_zone="America/New_York")
    assert [d.point.id for d in plan(history, new_york, NOW) if d.keep] == ["late", "first"]


@pytest.mark.parametrize(
    "wrong", [{}, {"daily": -1, "weekly": 1}, {"daily": 1, "time_zone": "Mars"}, {"keep_days": 10**7}]
)
def test_a_policy_that_makes_no_sense_is_refused(wrong: dict) -> None:
    """Keeping nothing, counts below zero and unknown time zones are usage errors with a hint."""
    with pytest.raises(UsageError) as caught:
        RetentionPolicy(**wrong)
    assert caught.value.hint
