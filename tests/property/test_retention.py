"""Retention: what must hold for every history and every policy."""

import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import assume, given
from hypothesis import strategies as st

from backstay.domain.retention import PointInTime, RetentionPolicy, plan

NOW = datetime(2026, 11, 22, 13, 0, tzinfo=UTC)
ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Pacific/Apia", "Asia/Kathmandu"]


@st.composite
def histories(draw: st.DrawFn) -> list[PointInTime]:
    """Points of two sets within some years, often close together; a few in the future."""
    hours = draw(st.lists(st.integers(-30, 24 * 900) | st.integers(-3, 24 * 40), max_size=40))
    return [
        PointInTime(
            f"p{number:03}",
            draw(st.sampled_from(["one", "two"])),
            NOW - timedelta(hours=age),
            held=draw(st.integers(0, 15)) == 0,
            complete=draw(st.integers(0, 3)) > 0,
        )
        for number, age in enumerate(hours)
    ]


@st.composite
def policies(draw: st.DrawFn) -> RetentionPolicy:
    """Any policy that keeps something."""
    counts = draw(st.tuples(st.integers(0, 40), *[st.integers(0, 6)] * 4))
    assume(any(counts))
    return RetentionPolicy(*counts, time_zone=draw(st.sampled_from(ZONES)))


def kept(points: list[PointInTime], policy: RetentionPolicy) -> set[PointInTime]:
    """The points that stay."""
    return {decision.point for decision in plan(points, policy, NOW) if decision.keep}


@given(histories(), policies())
def test_planning_again_keeps_all_that_stayed(points: list[PointInTime], policy: RetentionPolicy) -> None:
    """The plan is idempotent at the same time."""
    first = kept(points, policy)
    assert kept(list(first), policy) == first


@given(histories(), policies(), st.data())
def test_a_larger_count_keeps_no_less(
    points: list[PointInTime], policy: RetentionPolicy, data: st.DataObject
) -> None:
    """Raising any count keeps at least the same points."""
    field = data.draw(st.sampled_from(["keep_days", "daily", "weekly", "monthly", "yearly"]))
    larger = replace(policy, **{field: getattr(policy, field) + data.draw(st.integers(1, 10))})
    assert kept(points, policy) <= kept(points, larger)


@given(histories(), policies())
def test_the_newest_of_each_set_stays(points: list[PointInTime], policy: RetentionPolicy) -> None:
    """The newest point, the newest complete past one, the held and the future ones always stay."""
    stay = kept(points, policy)
    for name in {point.set for point in points}:
        mine = [point for point in points if point.set == name]
        assert any(p.time == max(q.time for q in mine) for p in stay if p.set == name)
        complete = [point.time for point in mine if point.complete and point.time <= NOW]
        if complete:
            assert any(p.complete and p.time == max(complete) for p in stay if p.set == name)
    assert {point for point in points if point.held or point.time > NOW} <= stay


@given(histories(), policies())
def test_no_more_stay_than_the_policy_says(points: list[PointInTime], policy: RetentionPolicy) -> None:
    """The number that stays is bounded by the counts, the young, the held and the future ones."""
    counted = policy.daily + policy.weekly + policy.monthly + policy.yearly + 2
    for name in {point.set for point in points}:
        mine = [point for point in points if point.set == name]
        young = timedelta(days=policy.keep_days)
        exempt = [p for p in mine if p.held or p.time > NOW or (policy.keep_days and NOW - p.time <= young)]
        assert len([p for p in kept(points, policy) if p.set == name]) <= len(exempt) + counted


@given(histories(), policies(), st.randoms())
def test_the_order_of_the_points_does_not_matter(
    points: list[PointInTime], policy: RetentionPolicy, chance: random.Random
) -> None:
    """A shuffled history gives the same plan, and every point exactly one decision with a reason."""
    shuffled = list(points)
    chance.shuffle(shuffled)
    decisions = plan(points, policy, NOW)
    assert plan(shuffled, policy, NOW) == decisions
    assert sorted(d.point.id for d in decisions) == [p.id for p in points]
    assert all(decision.reasons for decision in decisions)


@given(histories(), policies())
def test_sets_do_not_touch_each_other(points: list[PointInTime], policy: RetentionPolicy) -> None:
    """Planning a set alone or beside others gives the same decisions."""
    alone = [p for p in points if p.set == "one"]
    assert plan(alone, policy, NOW) == [d for d in plan(points, policy, NOW) if d.point.set == "one"]


@given(histories(), st.integers(1, 6))
def test_a_complete_point_is_never_given_up_for_an_incomplete_one(
    points: list[PointInTime], days: int
) -> None:
    """Of each day that keeps a point, a complete one stays where there was one."""
    stay = kept(points, RetentionPolicy(daily=days))
    for name in {point.set for point in points}:
        mine = [point for point in points if point.set == name and point.time <= NOW]
        for day in sorted({point.time.date() for point in mine})[-days:]:
            of_day = [point for point in mine if point.time.date() == day]
            assert any(p in stay and p.complete for p in of_day) or not any(p.complete for p in of_day)
