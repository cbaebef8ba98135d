"""The backup policy: layers, origins, limits."""

from collections.abc import Callable
from dataclasses import fields
from datetime import UTC, datetime, time, timedelta

import pytest

from backstay.domain.errors import UsageError
from backstay.domain.policy import (
    BackupPolicy,
    BandwidthLimit,
    PolicyLayer,
    Retries,
    Script,
    resolve,
)
from backstay.domain.schedule import Schedule


def test_a_value_travels_with_its_origin() -> None:
    """The last layer that sets a value wins, and the outcome says which that was."""
    fleet = PolicyLayer("fleet", retries=Retries(5), allow_live_scan=False, schedules=(Schedule("@daily"),))
    server = PolicyLayer("file server fs1", retries=Retries(0), schedules=())
    resolved = resolve([fleet, server])
    assert resolved.policy.retries.count == 0
    assert resolved.policy.schedules == ()
    assert resolved.policy.allow_live_scan is False
    assert resolved.policy.retention == BackupPolicy().retention
    assert resolved.origins["retries"] == resolved.origins["schedules"] == "file server fs1"
    assert resolved.origins["allow_live_scan"] == "fleet"
    assert resolved.origins["retention"] == "built-in"


def test_every_value_of_a_policy_can_be_set_by_a_layer() -> None:
    """Layer and policy name the same values, and every value has an origin."""
    names = [field.name for field in fields(BackupPolicy)]
    assert [field.name for field in fields(PolicyLayer)] == ["origin", *names]
    assert list(resolve([]).origins) == names
    assert resolve([]).policy == BackupPolicy()


def test_the_lowest_limit_that_holds_counts() -> None:
    """Limits hold at their times of day and weekdays, past midnight too; elsewhere nothing limits."""
    office = BandwidthLimit(1000, time(8), time(18), frozenset(range(5)), "Europe/Berlin")
    night = BandwidthLimit(5000, time(22), time(2), frozenset({4}))
    always = BandwidthLimit(9000, weekdays=frozenset({4, 5}))
    policy = BackupPolicy(bandwidth=(office, night, always))

    def allowed(text: str) -> int | None:
        return policy.bandwidth_at(datetime.fromisoformat(text).replace(tzinfo=UTC))

    assert allowed("2026-11-20T07:00") == 1000
    assert allowed("2026-11-20T06:59") == 9000
    assert allowed("2026-11-20T17:00") == 9000
    assert allowed("2026-11-20T23:00") == 5000
    assert allowed("2026-11-21T01:59") == 5000
    assert allowed("2026-11-21T02:00") == 9000
    assert allowed("2026-11-22T09:00") is None


def test_a_limit_with_equal_times_lasts_until_the_next_day() -> None:
    """From 22:00 to 22:00 is a whole day that begins in the evening."""
    limit = BandwidthLimit(1, time(22), time(22), frozenset({4}))
    hours = [(20, 21, False), (20, 22, True), (21, 21, True), (21, 22, False)]
    for day, hour, holds in hours:
        assert limit.holds_at(datetime(2026, 11, day, hour, tzinfo=UTC)) is holds


@pytest.mark.parametrize(
    "make",
    [
        lambda: BandwidthLimit(-1),
        lambda: BandwidthLimit(1, weekdays=frozenset({9})),
        lambda: BandwidthLimit(1, time_zone="Mars/Olympus"),
        lambda: Script(()),
        lambda: Script(("dump",), timedelta(0)),
        lambda: Retries(-1),
        lambda: Retries(1, timedelta(seconds=-1)),
        lambda: Retries(network_patience=timedelta(seconds=-1)),
    ],
)
def test_values_that_make_no_sense_are_refused(make: Callable[[], object]) -> None:
    """Each is a usage error with a hint."""
    with pytest.raises(UsageError) as caught:
        make()
    assert caught.value.hint
