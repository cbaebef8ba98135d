"""A part of a folder's entries, from any name on, without reading the pages before."""

from collections.abc import Iterator

from backstay.domain.entry import Entry
from backstay.domain.errors import DamagedObject
from backstay.repository.tree import PageRow, ReadBlob, decode_page
from backstay.repository.tree_check import MOST_LEVELS


def entries_after(page: bytes, name: bytes, read: ReadBlob) -> Iterator[Entry]:
    """The entries of a folder whose names are greater than `name`, in order; all of them for an empty one.

    Raises:
        DamagedObject, UnsupportedVersion.
    """
    yield from _after(page, name, read, 0)


def _after(page: bytes, name: bytes, read: ReadBlob, depth: int) -> Iterator[Entry]:
    if depth > MOST_LEVELS:
        raise DamagedObject(f"page {page.hex()[:16]}", f"more than {MOST_LEVELS} pages lie above it")
    rows: list[Entry | PageRow] = [*decode_page(read(page), page)]
    if depth and not rows:
        raise DamagedObject(f"page {page.hex()[:16]}", "it is empty, and yet listed by another")
    for number, row in enumerate(rows):
        if isinstance(row, Entry):
            if row.name > name or not name:
                yield row
            continue
        # All names below are smaller than the bound of the next page.
        follower = rows[number + 1] if number + 1 < len(rows) else None
        if name and isinstance(follower, PageRow) and follower.first <= name:
            continue
        yield from _after(row.page, name, read, depth + 1)
