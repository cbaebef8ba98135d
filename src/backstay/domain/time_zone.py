"""Wall-clock times of a time zone as instants, also on the days when clocks change."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from backstay.domain.errors import UsageError

_SECOND = timedelta(seconds=1)


def time_zone(name: str) -> ZoneInfo:
    """The IANA time zone called `name`.

    Raises:
        UsageError: this machine knows no such time zone.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise UsageError(
            f"there is no time zone {name!r}", hint="write a name like Europe/Berlin, or UTC"
        ) from None


def instant_of(wall_clock: datetime, zone: ZoneInfo) -> datetime:
    """The instant, in UTC, at which clocks in `zone` show the naive `wall_clock`.

    A time that is shown twice gives its first instant; one that is skipped gives the instant of the skip,
    which is the next that exists. Later wall-clock times never give earlier instants.
    """
    local = wall_clock.replace(tzinfo=zone, fold=0)
    instant = local.astimezone(UTC)
    if instant.astimezone(zone).replace(tzinfo=None) == wall_clock:
        return instant
    before = local.replace(fold=1).astimezone(UTC)
    offset_before = before.astimezone(zone).utcoffset()
    while instant - before > _SECOND:
        middle = before + timedelta(seconds=(instant - before) // (2 * _SECOND))
        if middle.astimezone(zone).utcoffset() == offset_before:
            before = middle
        else:
            instant = middle
    return instant
