"""Which file versions are nowhere but in restore points that are about to go.

A version is a path with a content. It is looked for at the same path in the points that stay: a folder that
one of them has unchanged is never opened.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from backstay.domain.entry import Entry
from backstay.repository.browse import components
from backstay.repository.manifest import RestorePoint
from backstay.repository.tree import ReadBlob, iterate_folder


class Looked(NamedTuple):
    """A path that was looked at; with its entry where its version is in no point that stays."""

    path: bytes
    last: Entry | None


def last_copies(
    going: RestorePoint, staying: Sequence[RestorePoint], read: ReadBlob, *, after: bytes = b""
) -> Iterator[Looked]:
    """Look at the files of a point in order, a folder before what is in it.

    What could not be read when it was backed up has no content to lose, and is left out.

    Args:
        staying: points that stay; more of them that are alike cost little.
        after: the path that was looked at last, to go on from there.

    Raises:
        DamagedObject, KeyMissing, StorageError.
    """
    pages = frozenset(point.manifest.root for point in staying)
    yield from _look(going.manifest.root, pages, b"", components(after) if after else [], read)


def _look(
    page: bytes, others: frozenset[bytes], above: bytes, after: list[bytes], read: ReadBlob
) -> Iterator[Looked]:
    levels = [_folder(page, others, above, after, read)]
    while levels:
        found = next(levels[-1], None)
        if found is None:
            levels.pop()
        elif isinstance(found, Looked):
            yield found
        else:
            yield Looked(found.path, None)
            if found.page not in found.others:
                levels.append(_folder(found.page, found.others, found.path, found.after, read))


class _Below(NamedTuple):
    """A folder to go into: its page, and those of the points that stay."""

    path: bytes
    page: bytes
    others: frozenset[bytes]
    after: list[bytes]


def _folder(
    page: bytes, others: frozenset[bytes], above: bytes, after: list[bytes], read: ReadBlob
) -> Iterator[Looked | _Below]:
    if page in others:
        return
    streams = [_Stream(iterate_folder(other, read)) for other in sorted(others)]
    for entry in iterate_folder(page, read):
        rest: list[bytes] = []
        if after:
            if entry.name < after[0] or (entry.name == after[0] and len(after) == 1 and entry.page is None):
                continue
            rest = after[1:] if entry.name == after[0] else []
        path = above + b"/" + entry.name
        same_name = [found for stream in streams if (found := stream.at(entry.name)) is not None]
        if entry.page is not None:
            below = frozenset(found.page for found in same_name if found.page is not None)
            yield _Below(path, entry.page, below, rest)
        elif entry.is_regular and entry.has_content:
            content = (entry.inline, entry.chunks)
            kept = any(found.is_regular and (found.inline, found.chunks) == content for found in same_name)
            yield Looked(path, None if kept else entry)


class _Stream:
    """A folder's entries, asked for by ascending names."""

    def __init__(self, entries: Iterator[Entry]) -> None:
        self._entries = entries
        self._next = next(entries, None)

    def at(self, name: bytes) -> Entry | None:
        while self._next is not None and self._next.name < name:
            self._next = next(self._entries, None)
        return self._next if self._next is not None and self._next.name == name else None
