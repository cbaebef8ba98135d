"""Sizes, durations and rates as people write them, and back."""

import re
from decimal import Decimal

from backstay.domain.errors import UsageError

_BINARY = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
_PREFIXES = "KMGTPE"
_SIZE_UNITS = {"": 1, "B": 1}
for _power, _prefix in enumerate(_PREFIXES, start=1):
    _SIZE_UNITS[_prefix] = _SIZE_UNITS[f"{_prefix}IB"] = 1024**_power
    _SIZE_UNITS[f"{_prefix}B"] = 1000**_power
_BIT_UNITS = {"BIT": 1} | {f"{prefix}BIT": 1000**power for power, prefix in enumerate(_PREFIXES, start=1)}

_SECONDS = {"s": 1, "min": 60, "h": 3600, "d": 86_400, "w": 604_800, "mo": 30 * 86_400, "y": 365 * 86_400}

_AMOUNT = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,18})?) *([A-Za-z]*)", re.ASCII)
_SPAN = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?) *([a-z]+) *", re.ASCII)


def parse_size(text: str) -> int:
    """Bytes that `text` names, rounded down: "4GiB", "1.5 MB", "512K", "100".

    Units as in coreutils(1), "Block size": K and KiB are 1024, KB is 1000; case does not matter.

    Raises:
        UsageError: `text` is not a size.
    """
    amount = _amount(text, _SIZE_UNITS)
    if amount is None:
        raise UsageError(f"{text!r} is not a size", hint="write for example 4GiB, 1.5MB or 512K")
    return int(amount)


def parse_rate(text: str) -> int:
    """Bytes per second that `text` names: "10MiB/s", "1.5 MB", "100 Mbit/s".

    Raises:
        UsageError: `text` is not a rate, or is below one byte per second.
    """
    amount_text = text.strip().removesuffix("/s").rstrip()
    amount = _amount(amount_text, _SIZE_UNITS)
    if amount is None:
        bits = _amount(amount_text, _BIT_UNITS)
        amount = None if bits is None else bits / 8
    if amount is None or amount < 1:
        raise UsageError(f"{text!r} is not a rate", hint="write for example 10MiB/s or 100Mbit/s")
    return int(amount)


def parse_duration(text: str) -> int:
    """Nanoseconds that `text` names: "90d", "2y", "1h 30min".

    Units: s, min, h, d, w, mo (30 days), y (365 days). A bare "m" is refused, because it could be either.

    Raises:
        UsageError: `text` is not a duration.
    """
    stripped = text.strip()
    total = Decimal(0)
    position = 0
    while span := _SPAN.match(stripped, position):
        seconds = _SECONDS.get(span[2])
        if seconds is None:
            break
        total += Decimal(span[1]) * seconds
        position = span.end()
    if not stripped or position != len(stripped):
        raise UsageError(
            f"{text!r} is not a duration",
            hint="write for example 90d or 1h 30min; the units are s, min, h, d, w, mo and y",
        )
    return int(total * 1_000_000_000)


def format_size(size: int) -> str:
    """`size` bytes in the largest binary unit that leaves at least one: "4.0 GiB", "512 B"."""
    scaled = float(size)
    for unit in _BINARY:
        if abs(scaled) < 1023.95 or unit == _BINARY[-1]:
            return f"{size} B" if unit == "B" else f"{scaled:.1f} {unit}"
        scaled /= 1024
    raise AssertionError("the last unit takes every size")


def format_rate(bytes_per_second: float) -> str:
    """A rate in bytes per second: "10.0 MiB/s"."""
    return f"{format_size(int(bytes_per_second))}/s"


def format_duration(nanoseconds: int) -> str:
    """A duration in its two largest units: "2h 5min", "3d", "0.4s"."""
    seconds = nanoseconds / 1e9
    if seconds < 9.95:
        return f"{seconds:.1f}s"
    remaining = round(seconds)
    parts: list[str] = []
    for unit in ("y", "d", "h", "min", "s"):
        count, rest = divmod(remaining, _SECONDS[unit])
        if parts or count:
            if count:
                parts.append(f"{count}{unit}")
            if len(parts) == 2 or not count:
                break
        remaining = rest
    return " ".join(parts)


def _amount(text: str, units: dict[str, int]) -> Decimal | None:
    match = _AMOUNT.fullmatch(text.strip())
    factor = units.get(match[2].upper()) if match else None
    return None if match is None or factor is None else Decimal(match[1]) * factor
