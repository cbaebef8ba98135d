"""Content cut into chunks: they cover it exactly, and an edit changes few of them."""

import os
import random
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backstay.backup.file_content import ContentReader
from backstay.domain.entry import FileStat
from backstay.filesystem.extras import stat_of
from backstay.repository.chunker import MAXIMUM, MINIMUM, SMALL_FILE, Chunker
from backstay.repository.pack import BlobKind
from backstay.repository.tree import iterate_chunks
from backstay.storage.interface import Buffer

KEY = bytes(range(32))


class Store:
    """Keeps blobs by a running number as id."""

    def __init__(self) -> None:
        self.blobs: dict[bytes, bytes] = {}
        self._room = memoryview(bytearray(SMALL_FILE))

    def room(self, length: int) -> memoryview:
        """Where a small file is read into."""
        return self._room[:length]

    def put_room(self, length: int) -> bytes:
        """Keep what was read there."""
        return self.put(BlobKind.DATA, self._room[:length], b"")

    def put(self, kind: BlobKind, data: Buffer, references: bytes) -> bytes:
        """Keep a blob."""
        blob_id = len(self.blobs).to_bytes(32, "big")
        self.blobs[blob_id] = bytes(data)
        return blob_id


def read_back(path: Path) -> tuple[bytes, bool, Store]:
    """The file's content put together again from what a backup stored of it."""
    store = Store()
    st_ = path.lstat()
    fd = os.open(path, os.O_RDONLY)
    try:
        content = ContentReader(store, KEY).read(fd, FileStat(*stat_of(b"f", st_)))
    finally:
        os.close(fd)
    if content.inline is not None:
        return content.inline, content.changed, store
    parts = []
    for chunk in iterate_chunks(content.chunks or (), store.blobs.__getitem__):
        parts.append(bytes(chunk.length) if chunk.blob is None else store.blobs[chunk.blob])
        assert len(parts[-1]) == chunk.length
    return b"".join(parts), content.changed, store


sizes = st.one_of(
    st.sampled_from([0, 1, 511, 512, 513, 4096, SMALL_FILE - 1, SMALL_FILE, SMALL_FILE + 1, 9 << 20]),
    st.integers(0, 20 << 20),
)


@given(sizes, st.integers(0, 1 << 30), st.booleans())
@settings(max_examples=25, deadline=None)
def test_content_comes_back_whole(
    tmp_path_factory: pytest.TempPathFactory, size: int, seed: int, repetitive: bool
) -> None:
    """Whatever the size, the pieces put together are the file."""
    path = tmp_path_factory.mktemp("content") / "f"
    data = b"0123456789abcdef" * (size // 16 + 1) if repetitive else random.Random(seed).randbytes(size)
    path.write_bytes(data[:size])
    content, changed, _ = read_back(path)
    assert content == data[:size]
    assert not changed


@given(st.lists(st.tuples(st.integers(0, 400), st.integers(1, 60)), max_size=8), st.integers(0, 1 << 30))
@settings(max_examples=20, deadline=None)
def test_holes_come_back_as_holes(
    tmp_path_factory: pytest.TempPathFactory, islands: list[tuple[int, int]], seed: int
) -> None:
    """A sparse file of 8 MiB reads back exactly, and its holes are stored as such."""
    path = tmp_path_factory.mktemp("sparse") / "f"
    chance = random.Random(seed)
    with path.open("wb") as file:
        file.truncate(8 << 20)
        for block, blocks in islands:
            file.seek(block * 16384)
            file.write(chance.randbytes(blocks * 4096))
    content, _, store = read_back(path)
    assert content == path.read_bytes()
    # A file this young is read twice; a repository would keep one copy.
    assert sum(map(len, set(store.blobs.values()))) <= path.stat().st_blocks * 512 + (1 << 16)


def test_an_insertion_changes_few_chunks() -> None:
    """Ten bytes put into the middle of 64 MiB leave all but a few chunks as they were."""
    data = random.Random(5).randbytes(64 << 20)
    edited = data[: 30 << 20] + b"0123456789" + data[30 << 20 :]

    def pieces(content: bytes) -> list[bytes]:
        at, found = 0, []
        for length in Chunker(KEY).cut(memoryview(content), final=True):
            found.append(content[at : at + length])
            at += length
        assert at == len(content)
        assert all(MINIMUM <= len(piece) <= MAXIMUM for piece in found[:-1])
        return found

    before, after = pieces(data), pieces(edited)
    assert len(set(after) - set(before)) <= 3


def test_chunk_lengths_differ_between_repositories() -> None:
    """Two repositories cut the same content at different places, so lengths do not give it away."""
    data = random.Random(6).randbytes(32 << 20)
    cuts = {tuple(Chunker(bytes([key]) * 32).cut(memoryview(data), final=True)) for key in range(4)}
    assert len(cuts) == 4


def test_windows_do_not_move_the_cuts(tmp_path: Path) -> None:
    """A file read in windows is cut as if it had been read at once."""
    data = random.Random(8).randbytes(40 << 20)
    path = tmp_path / "f"
    path.write_bytes(data)
    # So that it is not read twice, as a file that was written just now.
    time.sleep(0.05)
    _, _, store = read_back(path)
    assert [len(blob) for blob in store.blobs.values()] == Chunker(KEY).cut(memoryview(data), final=True)
