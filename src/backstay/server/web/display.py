"""Values as words: what templates use as filters.

File names are bytes and hostile. `shown_name` makes every one of them a line of visible text; Jinja2 then
escapes it for HTML like any other string.
"""

import os
import shlex
import stat
import unicodedata
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from markupsafe import Markup, escape

from backstay.domain.entry import Entry
from backstay.domain.size import format_size

# Characters that reorder or hide what stands around them count as printable for Python's eyes in part.
_INVISIBLE = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def shown_name(name: str | bytes | os.PathLike[str]) -> str:
    """`name` on one line, every character visible; others are written as in Python: \\n, \\x1b, \\xff."""
    plain = os.fsdecode(name)
    return "".join(one if unicodedata.category(one) not in _INVISIBLE else _escaped(one) for one in plain)


def _escaped(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is not UTF-8 (PEP 383)
        return f"\\x{code - 0xDC00:02x}"
    return ascii(character)[1:-1]


def shown_size(number: float | None) -> str:
    """Bytes, for people; a dash where they are not known."""
    return "–" if number is None else format_size(int(number))


def shown_rate(bytes_per_second: float | None) -> str:
    """A speed, for people; a dash where it is not known."""
    return "–" if bytes_per_second is None else f"{format_size(int(bytes_per_second))}/s"


def shown_count(number: int | None) -> str:
    """With thousands apart: "1,234,567"; a dash where it is not known."""
    return "–" if number is None else f"{number:,}"


def counted(number: int, singular: str, plural: str = "") -> str:
    """`number` with its noun: "1 file", "2,000 files"."""
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"


def shown_percent(part: float, whole: float) -> str:
    """`part` of `whole`, never rounded up to 100 %: "42 %"; a dash where there is no whole."""
    if not whole:
        return "–"
    return f"{min(int(100 * part / whole), 100)} %"


def shown_duration(length: timedelta | float | None) -> str:
    """Seconds, or a timedelta, in short: "0.4 s", "12 s", "2 min 5 s", "3 h 2 min", "4 d 3 h"."""
    if length is None:
        return "–"
    seconds = max(length.total_seconds() if isinstance(length, timedelta) else float(length), 0.0)
    if seconds < 0.1:
        return "< 0.1 s"
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if not minutes:
        return f"{rest} s"
    hours, minutes = divmod(minutes, 60)
    if not hours:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    days, hours = divmod(hours, 24)
    if not days:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    return f"{days} d {hours} h" if hours else f"{days} d"


def time_tag(moment: datetime | None, style: str = "relative", missing: str = "never") -> Markup:
    """A `<time>` that the script shows in the viewer's zone; without the script, UTC stands there.

    Args:
        moment: aware, or naive in UTC.
        style: relative, short, exact, clock, minute, day, or since (how long ago, counting).
        missing: the words where there is no moment.
    """
    if moment is None:
        return Markup('<span class="muted">{}</span>').format(missing)
    instant = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    return Markup('<time datetime="{}" data-show="{}">{}</time>').format(
        instant.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        style,
        escape(f"{instant:%Y-%m-%d %H:%M} UTC"),
    )


def in_zone(moment: datetime, zone: str) -> str:
    """A moment by the clocks of a time zone: "Mon 2 Mar, 22:30 CET"."""
    local = moment.astimezone(ZoneInfo(zone))
    return f"{local:%a} {local.day} {local:%b, %H:%M %Z}"


def shell_words(command: Sequence[str]) -> str:
    """A command as one would type it."""
    return shlex.join(command)


def modified(entry: Entry) -> datetime | None:
    """When a file was changed last; None where that is beyond the calendar."""
    try:
        return datetime.fromtimestamp(entry.mtime_ns / 1e9, UTC)
    except (OverflowError, ValueError, OSError):
        return None


def is_link(entry: Entry) -> bool:
    """Whether it is a symbolic link."""
    return stat.S_ISLNK(entry.mode)
