"""Looking into restore points with the keys that the server keeps: one door for every page and endpoint."""

import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from weakref import WeakKeyDictionary

from backstay.domain.entry import Entry
from backstay.domain.errors import BackstayError, KeyMissing
from backstay.repository.browse import Browser, Found, Version, pattern_matcher, walk_folder
from backstay.repository.compare import Difference, compare_points
from backstay.repository.content import FileContent
from backstay.repository.layout import MANIFESTS, object_name
from backstay.repository.manifest import RestorePoint, decode_manifest
from backstay.server.catalogue import sealed_manifest
from backstay.server.control import Control
from backstay.server.repositories import Repositories
from backstay.server.tables import RestorePointRow

_POINTS_REMEMBERED = 200


class _Opened:
    """What was opened of one server's repositories. Safe to use from several threads."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.browsers: dict[str, tuple[Browser, datetime]] = {}
        self.points: OrderedDict[str, RestorePoint] = OrderedDict()


_opened: WeakKeyDictionary[Repositories, _Opened] = WeakKeyDictionary()


@dataclass(frozen=True)
class Look:
    """An opened restore point."""

    point: RestorePoint
    browser: Browser

    def folder_page(self, folder: Entry, after: bytes | None, limit: int) -> tuple[list[Entry], bool]:
        """Entries of a folder by name, from the one after `after`; and whether there are more."""
        entries: Iterator[Entry] = self.browser.list_folder(folder)
        if after is not None:
            entries = (entry for entry in entries if entry.name > after)
        found = list(islice(entries, limit + 1))
        return found[:limit], len(found) > limit


def look_into(control: Control, row: RestorePointRow) -> Look:
    """Open a restore point.

    Raises:
        KeyMissing: the server holds no private key of the repository.
        StorageError, RepositoryError.
    """
    repository = control.repositories.get(row.repository_id)
    if not repository.secrets.can_read:
        raise KeyMissing(
            "this server holds no private key of the repository, so it cannot show what is in it",
            hint="use `backstay repo` with a passphrase or the recovery key",
        )
    opened = _opened.setdefault(control.repositories, _Opened())
    with opened.lock:
        browser, made_at = opened.browsers.get(row.repository_id, (None, row.committed_at))
        if browser is None or made_at <= row.committed_at:
            # One that is older than the restore point may know an index without it.
            browser = Browser(repository)
            opened.browsers[row.repository_id] = (browser, control.clock())
        point = opened.points.get(row.id)
    if point is None:
        name = object_name(MANIFESTS, bytes.fromhex(row.id))
        sealed = sealed_manifest(control, row.repository_id, row.id)
        point = decode_manifest(sealed, repository.secrets.catalogue_key, name)
        with opened.lock:
            opened.points[row.id] = point
            while len(opened.points) > _POINTS_REMEMBERED:
                opened.points.popitem(last=False)
    return Look(point, browser)


def versions(control: Control, rows: Sequence[RestorePointRow], path: bytes) -> list[Version]:
    """Every distinct version of a path in these restore points of one repository, oldest first."""
    looks = [look_into(control, row) for row in sorted(rows, key=lambda row: row.committed_at)]
    return looks[0].browser.versions([look.point for look in looks], path) if looks else []


class OutOfTime(BackstayError):
    """A search took longer than it may; what was found until then counts."""


def deadline(seconds: float) -> float:
    """When a search that begins now has to end, for `search`."""
    return time.monotonic() + seconds


def search(
    control: Control, row: RestorePointRow, pattern: str, path: bytes = b"/", ends: float | None = None
) -> Iterator[Found]:
    """Entries below `path` whose name fits, as Browser.find says.

    Raises:
        OutOfTime: the deadline is over.
    """
    look = look_into(control, row)
    fits = pattern_matcher(pattern)
    entry = look.browser.find_path(look.point, path)
    if entry is None:
        return
    for number, (place, found) in enumerate(walk_folder(entry, path, look.browser.read)):
        if ends is not None and number % 256 == 0 and time.monotonic() > ends:
            raise OutOfTime("the search took too long", hint="search below a folder")
        if fits(place):
            yield Found(look.point, place, found)


def compare(control: Control, before: RestorePointRow, after: RestorePointRow) -> Iterator[Difference]:
    """What has changed from one restore point to another of the same repository."""
    look = look_into(control, after)
    return compare_points(look_into(control, before).point, look.point, look.browser.read)


def content(look: Look, entry: Entry) -> FileContent:
    """A file's content. Raises RepositoryError where there is none."""
    return look.browser.open_content(entry)
