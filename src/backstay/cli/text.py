"""Text for people: safe to print, with sizes, times and tables.

A file name may hold any byte: it could move the cursor, clear the screen, or be no text at
all. Whatever comes from a name or an error goes through `shown` before it is printed.
"""

import os
import time
from collections.abc import Sequence

from backstay.domain.size import format_size

_SECOND_NS = 1_000_000_000


def shown(text: str | bytes | os.PathLike[str]) -> str:
    """`text` on one line, every character visible; others are written as in Python: \\n, \\x1b, \\xff."""
    plain = os.fsdecode(text)
    if plain.isprintable():
        return plain
    return "".join(one if one.isprintable() else _escaped(one) for one in plain)


def _escaped(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is not UTF-8 (PEP 383)
        return f"\\x{code - 0xDC00:02x}"
    return ascii(character)[1:-1]


def counted(number: int, singular: str, plural: str = "") -> str:
    """`number` with its noun: "1 file", "2,000 files"."""
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"


def size(number: int | float) -> str:
    """Bytes, for people."""
    return format_size(int(number))


def seconds(nanoseconds: int) -> str:
    """A short duration: "0.042 s", "3.1 s", "2 min 5 s", "3 h 2 min"."""
    value = max(nanoseconds, 0) / _SECOND_NS
    if value < 1:
        return f"{value:.3f} s"
    if value < 60:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"


def local_time(time_ns: int) -> str:
    """A moment by this machine's clock, with its zone: "2026-03-01 14:05:09 CET"."""
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S %Z", time.localtime(time_ns / _SECOND_NS)).rstrip()
    except (OverflowError, ValueError, OSError):
        return f"{time_ns} ns"


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()) -> str:
    """Columns as wide as their widest cell; those numbered in `right` are aligned to the right."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = []
    for row in (header, *rows):
        cells = [
            cell.rjust(width) if number in right else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
