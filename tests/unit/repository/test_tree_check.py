"""Pages that no honest backup makes are refused before anything is restored from them."""

import msgspec
import pytest

from backstay.domain.entry import Chunk, Entry, Grade, Totals
from backstay.domain.errors import DamagedObject, UnsupportedVersion
from backstay.repository.pack import BlobKind
from backstay.repository.tree import (
    PAGE_BYTES,
    ChunkList,
    PageRow,
    decode_chunks,
    decode_page,
    encode_entries,
    find_entry,
    iterate_chunks,
    iterate_folder,
    put_chunk_page,
    put_entries,
    put_folder,
)
from backstay.storage.interface import Buffer

ID = b"\7" * 32
FILE = Entry(b"file", 0o100644, 0, 0, 0, 0, 0, 1, 1, Grade.STABLE, inline=b"")
FOLDER = Entry(b"folder", 0o040755, 0, 0, 0, 0, 0, 1, 1, page=ID, totals=Totals())


class Blobs:
    """A store of blobs in memory, numbered as they come."""

    def __init__(self) -> None:
        self.content: dict[bytes, bytes] = {}

    def put(self, kind: BlobKind, data: Buffer, references: bytes = b"") -> bytes:
        """Keep a blob and return its id."""
        blob_id = len(self.content).to_bytes(32, "big")
        self.content[blob_id] = bytes(data)
        return blob_id

    def read(self, blob_id: bytes) -> bytes:
        """The blob."""
        return self.content[blob_id]

    def put_rows(self, *rows: object) -> bytes:
        """Keep a page above others."""
        return self.put(BlobKind.PAGE, msgspec.msgpack.encode((1, 1, rows)))


@pytest.mark.parametrize("name", [b"", b".", b"..", b"a/b", b"/", b"a\0b"])
def test_a_name_that_leads_elsewhere_is_refused(name: bytes) -> None:
    """No entry has a name that could be restored outside of its folder."""
    with pytest.raises(DamagedObject):
        decode_page(encode_entries([FILE._replace(name=name)]), ID)


@pytest.mark.parametrize("names", [(b"b", b"a"), (b"a", b"a")])
def test_names_out_of_order_or_repeated_are_refused(names: tuple[bytes, bytes]) -> None:
    """A page cannot hold a link and, behind it, a folder of the same name."""
    with pytest.raises(DamagedObject):
        decode_page(encode_entries([FILE._replace(name=name) for name in names]), ID)


@pytest.mark.parametrize(
    "entry",
    [
        FILE._replace(mode=0o000644),
        FILE._replace(mode=0o1100644),
        FILE._replace(grade=4),
        FILE._replace(size=1),
        FILE._replace(uid=-1),
        FILE._replace(gid=1 << 32),
        FILE._replace(flags=-1),
        FILE._replace(nlink=-1),
        FILE._replace(mtime_ns=(1 << 64) - 1),
        FILE._replace(inline=None, chunks=(Chunk(5, ID),), size=4),
        FILE._replace(inline=None, chunks=(Chunk(0, ID),)),
        FILE._replace(inline=None, chunks=(Chunk(-5, ID), Chunk(5, ID))),
        FILE._replace(inline=None, chunks=(Chunk(5, b"short"),), size=5),
        FILE._replace(inline=None, chunks=(Chunk(5, None, 1),), size=5),
        FILE._replace(inline=None, chunks=(Chunk(5, ID, 17),), size=5),
        FILE._replace(chunks=()),
        FILE._replace(page=ID),
        FOLDER._replace(page=None),
        FOLDER._replace(page=ID[1:]),
        FOLDER._replace(totals=Totals(files=-1)),
        FOLDER._replace(inline=b""),
        FILE._replace(mode=0o010644),
        FILE._replace(mode=0o120777, inline=b"a\0b", size=3),
    ],
)
def test_an_impossible_entry_is_refused(entry: Entry) -> None:
    """Numbers, content and kind of an entry fit each other."""
    with pytest.raises(DamagedObject):
        decode_page(encode_entries([entry]), ID)


def test_ordinary_entries_are_read_back() -> None:
    """What backups write passes the checks."""
    entries = [
        FILE._replace(name=b"\xff\n", inline=None, chunks=(Chunk(3, ID), Chunk(4, None)), size=7),
        FOLDER,
    ]
    entries.sort()
    link = FILE._replace(name=b"link", mode=0o120777, inline=b"../elsewhere", size=12)
    device = FILE._replace(name=b"null", mode=0o020666, inline=None, rdev=259)
    unreadable = FILE._replace(name=b"un", inline=None, size=99, grade=Grade.UNREADABLE, mtime_ns=-1)
    entries = sorted([*entries, link, device, unreadable], key=lambda entry: entry.name)
    assert decode_page(encode_entries(entries), ID) == entries


def test_a_later_version_is_told_apart_from_damage() -> None:
    """A page of version 2 is unsupported, whatever it looks like behind its version."""
    for later in ((2, 0, [], "more"), (2,), (2, "what", {})):
        with pytest.raises(UnsupportedVersion):
            decode_page(msgspec.msgpack.encode(later), ID)
        with pytest.raises(UnsupportedVersion):
            decode_chunks(msgspec.msgpack.encode(later), ID)
    with pytest.raises(DamagedObject):
        decode_page(msgspec.msgpack.encode((0, 0, [])), ID)


def test_pages_nested_without_end_are_refused() -> None:
    """A chain of pages, each with one below, ends in an error and not in a full stack."""
    blobs = Blobs()
    page = put_entries([FILE], blobs.put)
    for _ in range(2000):
        page = blobs.put_rows((b"", page, Totals(1)))
    with pytest.raises(DamagedObject):
        list(iterate_folder(page, blobs.read))
    with pytest.raises(DamagedObject):
        find_entry(page, b"file", blobs.read)


def test_an_empty_page_below_another_is_refused() -> None:
    """Pages that list one another many times over, with nothing in them, do not keep a reader busy."""
    blobs = Blobs()
    page = put_entries([], blobs.put)
    for _ in range(10):
        page = blobs.put_rows(*((b"%03d" % n, page, Totals(1)) for n in range(500)))
    with pytest.raises(DamagedObject):
        list(iterate_folder(page, blobs.read))


def test_pages_without_entries_are_left_out_of_a_folder() -> None:
    """A run of files that all vanished leaves no page in its folder."""
    blobs = Blobs()
    empty, full = put_entries([], blobs.put), put_entries([FILE], blobs.put)
    rows = [PageRow(b"", empty, Totals()), PageRow(b"a", full, Totals(1)), PageRow(b"g", empty, Totals())]
    assert list(iterate_folder(put_folder(rows, blobs.put), blobs.read)) == [FILE]
    assert list(iterate_folder(put_folder(rows[:1], blobs.put), blobs.read)) == []


def test_pages_out_of_order_are_refused() -> None:
    """The names of a folder ascend over all its pages."""
    blobs = Blobs()
    page = put_entries([FILE], blobs.put)
    above = blobs.put_rows((b"", page, Totals(1)), (b"x", page, Totals(1)))
    with pytest.raises(DamagedObject):
        list(iterate_folder(above, blobs.read))


def test_a_chunk_list_covers_what_it_is_listed_for() -> None:
    """A page of chunks adds up to its length above, and lies lower than it."""
    blobs = Blobs()
    page = put_chunk_page([Chunk(3, ID), Chunk(4, None)], blobs.put)
    assert [chunk.length for chunk in iterate_chunks([page], blobs.read)] == [3, 4]
    with pytest.raises(DamagedObject):
        list(iterate_chunks([page._replace(length=8)], blobs.read))
    above = put_chunk_page([page], blobs.put)
    with pytest.raises(DamagedObject):
        list(iterate_chunks([above._replace(depth=1)], blobs.read))


def test_holes_do_not_end_pages_of_chunks() -> None:
    """A sparse file of a thousand extents needs a few pages, not one an extent."""
    blobs = Blobs()
    chunks = ChunkList(blobs.put)
    rows = [
        Chunk(5, number.to_bytes(32, "little")) if number % 2 else Chunk(7, None) for number in range(2000)
    ]
    for row in rows:
        chunks.add(row)
    assert list(iterate_chunks(chunks.finish(), blobs.read)) == rows
    assert len(blobs.content) < 20


def test_a_page_of_huge_attributes_is_split() -> None:
    """No page grows without bound with the attributes of its entries, and all entries are found."""
    blobs = Blobs()
    value = bytes(60_000)
    entries = [FILE._replace(name=b"%05d" % n, xattrs=((b"user.big", value),)) for n in range(700)]
    page = put_entries(entries, blobs.put)
    assert max(map(len, blobs.content.values())) <= PAGE_BYTES
    assert list(iterate_folder(page, blobs.read)) == entries
    assert all(find_entry(page, name, blobs.read) for name in (b"00000", b"00349", b"00350", b"00699"))


def test_a_name_listed_twice_is_stored_once() -> None:
    """A directory that changes while it is listed may give a name twice; the page has it once."""
    blobs = Blobs()
    page = put_entries([FILE, FILE._replace(inode=2), FOLDER], blobs.put)
    assert list(iterate_folder(page, blobs.read)) == [FILE, FOLDER]
