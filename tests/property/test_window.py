"""The backup window, in every time zone and whenever clocks change."""

from datetime import UTC, datetime, time, timedelta

from hypothesis import given
from hypothesis import strategies as st

from backstay.domain.window import BackupWindow

ZONES = ["UTC", "Europe/Berlin", "Australia/Lord_Howe", "America/St_Johns", "Pacific/Apia", "Africa/Cairo"]

windows = st.builds(
    BackupWindow,
    start=st.times().map(lambda t: t.replace(second=0, microsecond=0)),
    length=st.integers(1, 1440).map(lambda minutes: timedelta(minutes=minutes)),
    weekdays=st.frozensets(st.integers(0, 6), min_size=1),
    time_zone=st.sampled_from(ZONES),
)
instants = st.datetimes(datetime(2009, 1, 1), datetime(2040, 1, 1)).map(lambda d: d.replace(tzinfo=UTC))


@given(windows, instants)
def test_an_opening_opens_for_its_length(window: BackupWindow, instant: datetime) -> None:
    """From each opening on it is open for exactly its length, unless the next opening comes first."""
    opening = window.opens_after(instant)
    assert opening is not None
    assert opening > instant
    assert window.contains(opening)
    assert window.closes_at(opening) == opening + window.length
    following = window.opens_after(opening)
    assert following is not None
    assert window.contains(opening + window.length) == (following <= opening + window.length)


@given(windows, instants)
def test_it_is_open_exactly_until_it_closes(window: BackupWindow, instant: datetime) -> None:
    """Open means that a closing time lies ahead; shut means that the next change is an opening."""
    closing = window.closes_at(instant)
    assert window.contains(instant) is (closing is not None)
    if closing is not None:
        assert instant < closing <= instant + window.length
        assert window.contains(closing - timedelta(microseconds=1))
    else:
        opening = window.opens_after(instant)
        assert opening is not None
        assert not window.contains(opening - timedelta(microseconds=1))


@given(st.times(), st.sampled_from(ZONES), instants)
def test_a_window_of_length_zero_is_no_window(start: time, zone: str, instant: datetime) -> None:
    """It is open at all times and never closes."""
    window = BackupWindow(start, timedelta(0), time_zone=zone)
    assert window.contains(instant)
    assert window.closes_at(instant) is None
