"""What differs between two restore points; pages that both have are never opened."""

from collections.abc import Iterator
from enum import StrEnum
from itertools import chain
from typing import NamedTuple

from backstay.domain.entry import Entry
from backstay.repository.browse import root_of, walk_folder
from backstay.repository.manifest import RestorePoint
from backstay.repository.tree import PageRow, ReadBlob, decode_page


class Change(StrEnum):
    """How an entry differs."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"
    """Its content, or its kind."""
    METADATA = "metadata"
    """Owner, permissions, times, attributes or flags, and nothing else."""


class Difference(NamedTuple):
    """An entry that differs: its absolute path, and what it was and is."""

    change: Change
    path: bytes
    before: Entry | None
    after: Entry | None


def compare_points(before: RestorePoint, after: RestorePoint, read: ReadBlob) -> Iterator[Difference]:
    """All that differs, by path, a folder before what is in it.

    The time and the number of entries of a folder are no difference of the folder itself; link counts,
    inode numbers and times of change never are.

    Args:
        read: reads blobs, as `Browser.read`.

    Raises:
        DamagedObject, KeyMissing, StorageError.
    """
    levels = [(b"/", _pairs(root_of(before), root_of(after), read))]
    while levels:
        above, pairs = levels[-1]
        pair = next(pairs, None)
        if pair is None:
            levels.pop()
            continue
        old, new = pair
        path = above + (old or new or _NOTHING).name
        if old is None or new is None or old.is_directory != new.is_directory:
            if old is not None:
                yield from _all(Change.REMOVED, path, old, read)
            if new is not None:
                yield from _all(Change.ADDED, path, new, read)
            continue
        change = _change(old, new)
        if change is not None:
            yield Difference(change, path, old, new)
        if old.is_directory:
            levels.append((path + b"/", _pairs(old, new, read)))


_NOTHING = Entry(b"", 0, 0, 0, 0, 0, 0, 0, 0)


def _all(change: Change, path: bytes, entry: Entry, read: ReadBlob) -> Iterator[Difference]:
    for where, each in chain([(path, entry)], walk_folder(entry, path, read)):
        if change is Change.ADDED:
            yield Difference(change, where, None, each)
        else:
            yield Difference(change, where, each, None)


def _change(old: Entry, new: Entry) -> Change | None:
    if old.mode & 0o170000 != new.mode & 0o170000:
        return Change.CHANGED
    if not old.is_directory and (old.inline, old.chunks, old.rdev) != (new.inline, new.chunks, new.rdev):
        return Change.CHANGED
    return None if _metadata(old) == _metadata(new) else Change.METADATA


def _metadata(entry: Entry) -> tuple[object, ...]:
    time = 0 if entry.is_directory else entry.mtime_ns
    return entry.mode, entry.uid, entry.gid, entry.user, entry.group, time, entry.xattrs, entry.flags


def _pairs(old: Entry, new: Entry, read: ReadBlob) -> Iterator[tuple[Entry | None, Entry | None]]:
    """Entries of the same name in two folders, without the pages that the folders share."""
    if old.page == new.page:
        return
    ours, theirs = (iter(chain.from_iterable(pages)) for pages in _pages_apart(old.page, new.page, read))
    one, other = next(ours, None), next(theirs, None)
    while one is not None or other is not None:
        if other is None or (one is not None and one.name < other.name):
            yield one, None
            one = next(ours, None)
        elif one is None or other.name < one.name:
            yield None, other
            other = next(theirs, None)
        else:
            if one != other:
                yield one, other
            one, other = next(ours, None), next(theirs, None)


def _pages_apart(
    old: bytes | None, new: bytes | None, read: ReadBlob
) -> tuple[Iterator[list[Entry]], Iterator[list[Entry]]]:
    """The pages of entries that only one of two folders has, in order."""
    olds, news = [old] if old else [], [new] if new else []
    deeper = True
    while deeper:
        shared = set(olds) & set(news)
        olds, old_deeper = _one_level_down(olds, shared, read)
        news, new_deeper = _one_level_down(news, shared, read)
        deeper = old_deeper or new_deeper
    return _opened(olds, read), _opened(news, read)


def _one_level_down(pages: list[bytes], shared: set[bytes], read: ReadBlob) -> tuple[list[bytes], bool]:
    """The pages below these, or themselves where they hold entries; and whether any was opened so."""
    below: list[bytes] = []
    deeper = False
    for page in pages:
        if page in shared:
            continue
        rows = decode_page(read(page), page)
        lower = [row.page for row in rows if isinstance(row, PageRow)]
        deeper = deeper or bool(lower)
        below += lower or [page]
    return below, deeper


def _opened(pages: list[bytes], read: ReadBlob) -> Iterator[list[Entry]]:
    for page in pages:
        yield [row for row in decode_page(read(page), page) if isinstance(row, Entry)]
