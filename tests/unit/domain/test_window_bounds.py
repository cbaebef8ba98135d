"""The backup window: nights in which clocks change, and windows that make no sense."""

from datetime import UTC, datetime, time, timedelta

import pytest

from backstay.domain.errors import UsageError
from backstay.domain.window import BackupWindow

NIGHT = BackupWindow(time(22), timedelta(hours=8), frozenset({4, 5}), "Europe/Berlin")


def at(text: str) -> datetime:
    """An instant in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def test_a_window_goes_past_midnight_into_a_day_that_is_not_its_own() -> None:
    """Saturday's window is open early on Sunday; Sunday opens none."""
    assert NIGHT.contains(at("2026-11-22T04:59"))
    assert not NIGHT.contains(at("2026-11-22T05:00"))
    assert not NIGHT.contains(at("2026-11-22T22:00"))
    assert NIGHT.opens_after(at("2026-11-22T22:00")) == at("2026-11-27T21:00")


def test_the_length_is_time_that_passes() -> None:
    """In the night of 29 March 2026 eight hours end at 07:00 summer time."""
    assert NIGHT.closes_at(at("2026-03-28T23:00")) == at("2026-03-29T05:00")
    assert NIGHT.closes_at(at("2026-10-24T23:00")) == at("2026-10-25T04:00")


def test_a_start_that_is_skipped_opens_when_clocks_go_on() -> None:
    """02:30 does not exist in Berlin on 29 March 2026."""
    window = BackupWindow(time(2, 30), timedelta(hours=1), time_zone="Europe/Berlin")
    assert window.opens_after(at("2026-03-28T12:00")) == at("2026-03-29T01:00")


@pytest.mark.parametrize(
    "wrong",
    [
        {"length": timedelta(hours=25)},
        {"length": timedelta(seconds=-1)},
        {"weekdays": frozenset()},
        {"weekdays": frozenset({7})},
        {"time_zone": "Nowhere/Atall"},
        {"time_zone": "../../etc/passwd"},
        {"start": time(1, tzinfo=UTC)},
    ],
)
def test_a_window_that_makes_no_sense_is_refused(wrong: dict) -> None:
    """Bounds of length, weekdays and time zone are usage errors with a hint."""
    with pytest.raises(UsageError) as caught:
        BackupWindow(**wrong)
    assert caught.value.hint
