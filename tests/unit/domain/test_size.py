"""Sizes, rates and durations as people write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backstay.domain.errors import UsageError
from backstay.domain.size import (
    format_duration,
    format_rate,
    format_size,
    parse_duration,
    parse_rate,
    parse_size,
)

SECOND = 1_000_000_000


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("100", 100),
        ("100B", 100),
        ("512K", 524_288),
        ("512k", 524_288),
        ("4GiB", 4 * 2**30),
        ("1.5 MB", 1_500_000),
        ("1.5m", 1_572_864),
        (" 2 TiB ", 2**41),
        ("1EB", 10**18),
    ],
)
def test_sizes_are_read_as_coreutils_reads_them(text: str, size: int) -> None:
    """K and KiB are 1024, KB is 1000."""
    assert parse_size(text) == size


@pytest.mark.parametrize(
    ("text", "rate"), [("10MiB/s", 10 * 2**20), ("1.5 MB", 1_500_000), ("100 Mbit/s", 12_500_000)]
)
def test_rates_are_bytes_a_second(text: str, rate: int) -> None:
    """In bytes or in bits."""
    assert parse_rate(text) == rate


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90d", 90 * 86_400),
        ("2y", 730 * 86_400),
        ("1h 30min", 5400),
        ("1h30min", 5400),
        ("0.5s", 0.5),
        ("1mo", 2_592_000),
    ],
)
def test_durations_are_nanoseconds(text: str, seconds: float) -> None:
    """With one or several units."""
    assert parse_duration(text) == seconds * SECOND


@pytest.mark.parametrize("text", ["", "many", "-1", "1 2", "4 GiX", "1e3", "GiB", "1.", "٣K", "inf", "0x10"])
def test_nonsense_is_refused(text: str) -> None:
    """What is neither size nor rate nor duration is a usage error that shows how to write one."""
    for parse in (parse_size, parse_rate, parse_duration):
        with pytest.raises(UsageError) as caught:
            parse(text)
        assert repr(text) in caught.value.what
        assert caught.value.hint


@pytest.mark.parametrize("text", ["5", "5m", "5M", "d", "1h 30", "1h,2s"])
def test_a_duration_needs_plain_units(text: str) -> None:
    """A bare number, and an m that could be minutes or months, are refused."""
    with pytest.raises(UsageError, match="is not a duration"):
        parse_duration(text)


def test_a_rate_of_nothing_is_refused() -> None:
    """A limit of zero would stop everything."""
    with pytest.raises(UsageError, match="is not a rate"):
        parse_rate("0")


@given(st.integers(0, 2**63))
def test_a_formatted_size_reads_back_nearly(size: int) -> None:
    """Formatting keeps the size within half of the last digit shown."""
    assert abs(parse_size(format_size(size)) - size) <= size * 0.05 + 1


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (format_size(0), "0 B"),
        (format_size(1023), "1023 B"),
        (format_size(1024), "1.0 KiB"),
        (format_size(2**30 - 1), "1.0 GiB"),
        (format_rate(10 * 2**20), "10.0 MiB/s"),
        (format_duration(400_000_000), "0.4s"),
        (format_duration(65 * SECOND), "1min 5s"),
        (format_duration(3600 * SECOND), "1h"),
        (format_duration(7500 * SECOND + 1), "2h 5min"),
        (format_duration(3 * 86_400 * SECOND), "3d"),
        (format_duration(400 * 86_400 * SECOND), "1y 35d"),
    ],
)
def test_figures_are_short(shown: str, expected: str) -> None:
    """One decimal for sizes, two units for durations."""
    assert shown == expected
