"""Folders as pages, and long chunk lists: what goes in comes out, and a small change stays small."""

import random

from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from backstay.domain.entry import Chunk, Entry, Totals
from backstay.repository.pack import BlobKind
from backstay.repository.splitting import MOST_ENTRIES, ends_segment
from backstay.repository.tree import (
    ChunkList,
    PageRow,
    find_entry,
    iterate_chunks,
    iterate_folder,
    put_entries,
    put_folder,
    totals_of,
)
from backstay.storage.interface import Buffer


class Blobs(dict[bytes, bytes]):
    """Blobs in memory, with the references that they were put with."""

    def put(self, kind: BlobKind, data: Buffer, references: bytes) -> bytes:
        """Keep a blob."""
        blob_id: bytes = blake3(data).digest()
        self[blob_id] = bytes(data)
        return blob_id

    def read(self, blob_id: bytes) -> bytes:
        """Give it back."""
        return self[blob_id]


def entry(name: bytes, size: int = 0) -> Entry:
    """A plain file."""
    return Entry(name, 0o100644, 1, 2, size, 3, 4, 5, 1, inline=b"x" * size)


def put_names(names: list[bytes], blobs: Blobs) -> bytes:
    """Store a folder of these sorted names as the backup does."""
    rows: list[PageRow] = []
    run: list[Entry] = []
    for name in names:
        run.append(entry(name))
        if ends_segment(name) or len(run) >= MOST_ENTRIES:
            rows.append(PageRow(run[0].name, put_entries(run, blobs.put), totals_of(run)))
            run = []
    if run or not rows:
        rows.append(PageRow(run[0].name if run else b"", put_entries(run, blobs.put), totals_of(run)))
    return put_folder(rows, blobs.put)


names_of_files = st.binary(min_size=1, max_size=12).filter(
    lambda name: b"/" not in name and b"\0" not in name and name not in (b".", b"..")
)


@given(st.sets(names_of_files, max_size=200))
@settings(max_examples=60, deadline=None)
def test_a_folder_reads_back_sorted_and_each_name_is_found(names: set[bytes]) -> None:
    """Every name comes back once, in order, and is found alone; others are not."""
    blobs = Blobs()
    page = put_names(sorted(names), blobs)
    assert [found.name for found in iterate_folder(page, blobs.read)] == sorted(names)
    for name in names:
        found = find_entry(page, name, blobs.read)
        assert found is not None
        assert found.name == name
    assert find_entry(page, b"not there either", blobs.read) is None


def test_one_change_in_a_large_folder_makes_few_new_pages() -> None:
    """One more name among 60,000 costs one page and those above it, wherever it falls."""
    blobs = Blobs()
    names = [b"file-%06d" % number for number in range(60_000)]
    put_names(names, blobs)
    before = len(blobs)
    for place in (0, 31_234, 60_000):
        changed = sorted([*names, b"file-%06d-new" % place])
        put_names(changed, blobs)
        assert len(blobs) - before <= 3
        before = len(blobs)
    assert max(map(len, blobs.values())) < 1 << 20


@given(st.lists(st.tuples(st.integers(1, 1 << 22), st.booleans()), max_size=300))
@settings(max_examples=50, deadline=None)
def test_a_chunk_list_reads_back_in_order(pieces: list[tuple[int, bool]]) -> None:
    """Chunks and holes come back in order, and the entry's own list adds up to the file's length."""
    blobs = Blobs()
    chunks = [
        Chunk(length, None if hole else blake3(b"%d %d" % (number, length)).digest())
        for number, (length, hole) in enumerate(pieces)
    ]
    collected = ChunkList(blobs.put)
    for chunk in chunks:
        collected.add(chunk)
    kept = collected.finish()
    assert list(iterate_chunks(kept, blobs.read)) == chunks
    assert sum(chunk.length for chunk in kept) == collected.length == sum(length for length, _ in pieces)


def test_a_very_long_chunk_list_is_short_in_the_entry_and_shares_pages() -> None:
    """A hundred thousand chunks leave at most 64 in the entry; one more at the end costs few pages."""
    blobs = Blobs()
    chance = random.Random(1)
    chunks = [Chunk(1 << 20, chance.randbytes(32)) for _ in range(100_000)]

    def put(pieces: list[Chunk]) -> tuple[Chunk, ...]:
        collected = ChunkList(blobs.put)
        for chunk in pieces:
            collected.add(chunk)
        return collected.finish()

    first = put(chunks)
    assert len(first) <= 64
    assert list(iterate_chunks(first, blobs.read)) == chunks
    before = len(blobs)
    put([*chunks, Chunk(5, bytes(32))])
    assert len(blobs) - before <= 4


def test_totals_count_kinds_and_bytes() -> None:
    """Totals of a page count files, folders and the rest, and what lies below its folders."""
    below = Totals(files=3, directories=1, others=2, bytes=100)
    folder = Entry(b"d", 0o040755, 0, 0, 4096, 0, 0, 0, 2, page=bytes(32), totals=below)
    link = Entry(b"l", 0o120777, 0, 0, 3, 0, 0, 0, 1, inline=b"abc")
    assert totals_of([entry(b"a", 7), folder, link]) == Totals(4, 2, 3, 107)
