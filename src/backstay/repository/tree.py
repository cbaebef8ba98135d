"""Directories as pages: encoded, split where their names decide, and read again.

A page is a msgpack array: [version, level, rows]. On level 0 the rows are entries,
sorted by name; on higher levels they are [first name, page id, totals] of the pages
below. Long chunk lists are paged in the same way. docs/format.md has the whole layout.
"""

from collections.abc import Callable, Iterator
from itertools import count, pairwise
from typing import NamedTuple

import msgspec

from backstay.domain.entry import Chunk, Entry, Totals
from backstay.domain.errors import DamagedObject
from backstay.repository.pack import PREFIX, BlobKind
from backstay.repository.splitting import MOST_ENTRIES, SEGMENT_ENTRIES, ends_segment
from backstay.repository.tree_check import MOST_LEVELS, check_chunks, check_entries, check_rows
from backstay.repository.wire import decode_record
from backstay.storage.interface import Buffer

VERSION = 1

PAGE_BYTES = 16 << 20
"""A page of entries that would be longer is split; only extended attributes make one so long."""

CHUNKS_INLINE = 64
"""A file with more chunks than this keeps them in pages of their own."""

PutBlob = Callable[[BlobKind, Buffer, bytes], bytes]


class PageRow(NamedTuple):
    """A page below another: a lower bound of its names, its id, and what it holds in all.

    The bound, `first`, is greater than every name in the pages before.
    """

    first: bytes
    page: bytes
    totals: Totals


class _EntryPage(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    version: int
    level: int
    rows: list[Entry]


class _RowPage(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    version: int
    level: int
    rows: list[PageRow]


class _ChunkPage(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    version: int
    rows: list[Chunk]


class _PageHead(msgspec.Struct, array_like=True):
    version: int
    level: int


_encoder = msgspec.msgpack.Encoder()
_entry_page = msgspec.msgpack.Decoder(_EntryPage)
_row_page = msgspec.msgpack.Decoder(_RowPage)
_chunk_page = msgspec.msgpack.Decoder(_ChunkPage)
_page_head = msgspec.msgpack.Decoder(_PageHead)


def encode_entries(entries: list[Entry]) -> bytes:
    """A page of entries, which must be sorted by name."""
    return _encoder.encode((VERSION, 0, entries))


def references_of(entries: list[Entry]) -> bytes:
    """Id prefixes of all blobs that these entries refer to, joined."""
    found: list[bytes] = []
    for entry in entries:
        if entry.chunks:
            found += [chunk.blob[:PREFIX] for chunk in entry.chunks if chunk.blob]
        elif entry.page:
            found.append(entry.page[:PREFIX])
    return b"".join(found)


def totals_of(entries: list[Entry]) -> Totals:
    """What these entries and everything below them add up to."""
    files = directories = others = size = 0
    grades = [0, 0, 0, 0]
    below = Totals()
    for entry in entries:
        kind = entry.mode & 0o170000
        if kind == 0o100000:
            files += 1
            size += entry.size
            grades[entry.grade] += 1
        elif kind == 0o040000:
            directories += 1
            below = below.plus(entry.totals or Totals())
        else:
            others += 1
    snapshot, _, changed, unreadable = grades
    return below.plus(Totals(files, directories, others, size, snapshot, changed, unreadable))


def put_entries(entries: list[Entry], put: PutBlob) -> bytes:
    """Store the entries, sorted by name, as a page, and return its id. Of one name the first counts."""
    if any(before.name == after.name for before, after in pairwise(entries)):
        # Listing a directory while it changes may give a name twice (readdir(3)).
        entries = list({entry.name: entry for entry in reversed(entries)}.values())[::-1]
    encoded = encode_entries(entries)
    if len(encoded) <= PAGE_BYTES or len(entries) == 1:
        return put(BlobKind.PAGE, encoded, references_of(entries))
    middle = len(entries) // 2
    rows = [
        PageRow(half[0].name, put_entries(half, put), totals_of(half))
        for half in (entries[:middle], entries[middle:])
    ]
    return put_folder(rows, put)


def put_folder(rows: list[PageRow], put: PutBlob) -> bytes:
    """The id of the page that stands for a whole folder, given the pages that its entries fill.

    One page stands for itself; more are listed by pages above them, without empty ones.
    """
    rows = [row for row in rows if any(row.totals)] or rows[:1]
    level = 1
    while len(rows) > 1:
        rows = [_put_rows(group, level, put) for group in _groups(rows)]
        level += 1
    return rows[0].page


def _groups(rows: list[PageRow]) -> Iterator[list[PageRow]]:
    if len(rows) <= SEGMENT_ENTRIES:
        yield rows
        return
    group: list[PageRow] = []
    for row in rows:
        group.append(row)
        if len(group) > 1 and (ends_segment(row.page) or len(group) >= MOST_ENTRIES):
            yield group
            group = []
    if group:
        yield group


def _put_rows(rows: list[PageRow], level: int, put: PutBlob) -> PageRow:
    totals = Totals()
    for row in rows:
        totals = totals.plus(row.totals)
    references = b"".join(row.page[:PREFIX] for row in rows)
    page = put(BlobKind.PAGE, _encoder.encode((VERSION, level, rows)), references)
    return PageRow(rows[0].first, page, totals)


class ChunkList:
    """Collects the chunks of one file; of long lists only the open pages are in memory.

    Attributes:
        length: bytes of the file covered so far.
    """

    def __init__(self, put: PutBlob) -> None:
        self._put = put
        self._levels: list[list[Chunk]] = [[]]
        self.length = 0

    def add(self, chunk: Chunk) -> None:
        """Append a chunk or a hole."""
        self.length += chunk.length
        self._add(chunk, 0)

    def _add(self, chunk: Chunk, level: int) -> None:
        if level == len(self._levels):
            self._levels.append([])
        page = self._levels[level]
        page.append(chunk)
        ends = chunk.blob is not None and len(page) > 1 and ends_segment(chunk.blob)
        if ends or len(page) >= MOST_ENTRIES:
            self._levels[level] = []
            self._add(put_chunk_page(page, self._put), level + 1)

    def finish(self) -> tuple[Chunk, ...]:
        """The list as an entry carries it: a short one as it is, a long one as the top of its pages."""
        level = 0
        while level < len(self._levels) - 1 or len(self._levels[level]) > CHUNKS_INLINE:
            page = self._levels[level]
            self._levels[level] = []
            if page:
                self._add(put_chunk_page(page, self._put), level + 1)
            level += 1
        return tuple(self._levels[level])


def put_chunk_page(chunks: list[Chunk], put: PutBlob) -> Chunk:
    """Store a page of a chunk list, and return the chunk that stands for it."""
    references = b"".join(chunk.blob[:PREFIX] for chunk in chunks if chunk.blob)
    page = put(BlobKind.CHUNKS, _encoder.encode((VERSION, chunks)), references)
    return Chunk(sum(chunk.length for chunk in chunks), page, 1 + max(chunk.depth for chunk in chunks))


def decode_page(data: bytes, page: bytes) -> list[Entry] | list[PageRow]:
    """The rows of a page: entries on level 0, rows of pages above. All of them are checked.

    Raises:
        DamagedObject, UnsupportedVersion.
    """
    name = f"page {page.hex()[:16]}"
    if decode_record(_page_head, data, name, VERSION).level == 0:
        entries = decode_record(_entry_page, data, name, VERSION).rows
        check_entries(entries, name)
        return entries
    rows = decode_record(_row_page, data, name, VERSION).rows
    check_rows(rows, name)
    return rows


def decode_chunks(data: bytes, page: bytes) -> list[Chunk]:
    """The rows of a page of a chunk list, checked. Raises DamagedObject, UnsupportedVersion."""
    name = f"chunk list {page.hex()[:16]}"
    rows = decode_record(_chunk_page, data, name, VERSION).rows
    check_chunks(rows, name)
    return rows


ReadBlob = Callable[[bytes], bytes]


def iterate_folder(page: bytes, read: ReadBlob) -> Iterator[Entry]:
    """All entries of a folder, sorted by name, one page a level in memory at a time.

    Raises:
        DamagedObject, UnsupportedVersion: also where the pages do not fit together.
    """
    last = b""
    for entry in _entries_below(page, read, 0):
        if entry.name <= last:
            raise DamagedObject(f"page {page.hex()[:16]}", "the names in the pages below it are not in order")
        last = entry.name
        yield entry


def _entries_below(page: bytes, read: ReadBlob, depth: int) -> Iterator[Entry]:
    _check_depth(page, depth)
    rows = decode_page(read(page), page)
    if depth and not rows:
        # Else a few pages, each listing the next one often, would take for ever to walk.
        raise DamagedObject(f"page {page.hex()[:16]}", "it is empty, and yet listed by another")
    for row in rows:
        if isinstance(row, Entry):
            yield row
        else:
            yield from _entries_below(row.page, read, depth + 1)


def _check_depth(page: bytes, depth: int) -> None:
    if depth > MOST_LEVELS:
        raise DamagedObject(f"page {page.hex()[:16]}", f"more than {MOST_LEVELS} pages lie above it")


def find_entry(page: bytes, name: bytes, read: ReadBlob) -> Entry | None:
    """The entry of this name in a folder, or None; reads one page a level."""
    for depth in count():
        _check_depth(page, depth)
        below: PageRow | None = None
        for row in decode_page(read(page), page):
            if isinstance(row, Entry):
                if row.name == name:
                    return row
            elif row.first <= name:
                below = row
        if below is None:
            return None
        page = below.page
    return None


def iterate_chunks(chunks: tuple[Chunk, ...] | list[Chunk], read: ReadBlob) -> Iterator[Chunk]:
    """The chunks of a file's content and its holes, pages of the list opened.

    Raises:
        DamagedObject, UnsupportedVersion: also where a page does not cover what it is listed for.
    """
    for chunk in chunks:
        if not chunk.depth or chunk.blob is None:
            yield chunk
            continue
        below = decode_chunks(read(chunk.blob), chunk.blob)
        if sum(row.length for row in below) != chunk.length or max(row.depth for row in below) >= chunk.depth:
            raise DamagedObject(f"chunk list {chunk.blob.hex()[:16]}", "it does not fit the list above it")
        yield from iterate_chunks(below, read)
