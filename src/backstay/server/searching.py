"""Searching restore points for a name, with a limit of time."""

import time
from collections.abc import Iterator

from backstay.domain.errors import BackstayError
from backstay.repository.browse import Found, pattern_matcher, walk_folder
from backstay.server import browsing
from backstay.server.browsing import OpenPoint

_LOOKED_AT_BETWEEN = 256


class OutOfTime(BackstayError):
    """A search took longer than it may; what was found until then counts."""


def deadline(seconds: float) -> float:
    """When a search that begins now has to end, for `search`."""
    return time.monotonic() + seconds


def search(opened: OpenPoint, pattern: str, path: bytes, ends: float) -> Iterator[Found]:
    """Entries below `path` whose name fits, as `repository.browse.Browser.find` understands it.

    Raises:
        NotFound: there is no such path.
        OutOfTime: the deadline is over.
        DamagedObject, StorageError.
    """
    fits = pattern_matcher(pattern)
    folder = browsing.find_path(opened, path)
    for number, (place, entry) in enumerate(walk_folder(folder, path, opened.read)):
        if number % _LOOKED_AT_BETWEEN == 0 and time.monotonic() > ends:
            raise OutOfTime("the search took too long", hint="search below a folder")
        if fits(place):
            yield Found(opened.point, place, entry)
