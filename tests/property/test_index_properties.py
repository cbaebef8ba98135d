"""Index runs: whatever is put in is found, wherever it lies, and merging loses nothing."""

import os
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backstay.repository.index import Index, Location, Run, RunBuilder
from backstay.repository.index_cache import IndexCache
from backstay.repository.index_merge import merge_runs
from backstay.repository.index_store import put_run, replace_index
from backstay.repository.layout import INDEX
from backstay.repository.pack import BlobKind, FrameRecord, Trailer
from backstay.testing.memory_storage import MemoryStorage

KEY = bytes(range(32))

blob_ids = st.one_of(
    st.binary(min_size=32, max_size=32),
    # Prefixes that differ late, or not at all in the first half, meet in neighbouring rows.
    st.integers(0, 40).map(lambda number: bytes(7) + bytes([number // 4]) + bytes([number]) * 24),
)


def trailer_of(ids: list[bytes]) -> Trailer:
    """A trailer with one frame that lists blobs of these ids, each a hundred bytes."""
    trailer = Trailer(bytes(16), [b"key"], [FrameRecord(8, 100, 100 * len(ids) or 1, 0, 0)])
    for number, blob_id in enumerate(ids):
        trailer.add(blob_id, BlobKind.DATA, 0, 100 * number, 100, b"")
    return trailer


def build(packs: list[list[bytes]]) -> tuple[RunBuilder, dict[bytes, list[Location]]]:
    """A builder that has these packs, and where it should say that each blob lies."""
    builder = RunBuilder()
    expected: dict[bytes, list[Location]] = {}
    for ids in packs:
        digest = os.urandom(32)
        builder.add_pack(digest, 1000, trailer_of(ids))
        for number, blob_id in enumerate(ids):
            expected.setdefault(blob_id[:16], []).append(Location(digest, 0, 100 * number, 100))
    return builder, expected


@given(st.lists(st.lists(blob_ids, max_size=30), max_size=6), st.lists(blob_ids, max_size=20))
@settings(max_examples=60, deadline=None)
def test_a_run_finds_what_was_added_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, packs: list[list[bytes]], others: list[bytes]
) -> None:
    """A mapped run gives for each blob its first place in each pack, in order, and nothing for other ids."""
    builder, expected = build(packs)
    path = tmp_path_factory.mktemp("run") / "run"
    path.write_bytes(builder.encode())
    run = Run(path)
    for prefix, locations in expected.items():
        firsts = {location.pack: location for location in reversed(locations)}
        assert list(run.find(prefix)) == list(reversed(firsts.values()))
        assert builder.locate(prefix) == locations[0]
    for other in others:
        if other[:16] not in expected:
            assert list(run.find(other[:16])) == []
            assert other[:16] not in builder
    assert [pack.digest for pack in run.packs()] == [pack.digest for pack in builder.packs]


@given(st.lists(st.lists(blob_ids, min_size=1, max_size=20), min_size=1, max_size=8), st.integers(0, 7))
@settings(max_examples=50, deadline=None)
def test_merging_keeps_every_place_but_those_left_out(
    tmp_path_factory: pytest.TempPathFactory, packs: list[list[bytes]], dropped: int
) -> None:
    """A merge of runs holds every place of every blob, without the packs that are left out."""
    folder = tmp_path_factory.mktemp("merge")
    runs, places = [], dict[bytes, set[Location]]()
    digests: list[bytes] = []
    for number, ids in enumerate(packs):
        builder, expected = build([ids])
        digests.append(builder.packs[0].digest)
        (folder / str(number)).write_bytes(builder.encode())
        runs.append(Run(folder / str(number)))
        for prefix, locations in expected.items():
            places.setdefault(prefix, set()).add(locations[0])
    gone = {digests[dropped]} if dropped < len(digests) else set()
    count = merge_runs(runs, folder / "merged", without=gone)
    merged = Run(folder / "merged")
    kept = {prefix: {place for place in found if place.pack not in gone} for prefix, found in places.items()}
    assert {prefix: set(merged.find(prefix)) for prefix in places} == kept
    assert count == merged.entries == sum(map(len, kept.values()))
    assert {pack.digest for pack in merged.packs()} == set(digests) - gone


def test_a_long_run_is_found_by_interpolation(tmp_path: Path) -> None:
    """Among 200,000 uniform ids each is found, and ids that are not there are not."""
    chance = random.Random(7)
    builder = RunBuilder()
    ids = [chance.randbytes(32) for _ in range(200_000)]
    builder.add_pack(bytes(32), 10, trailer_of(ids))
    (tmp_path / "run").write_bytes(builder.encode())
    run = Run(tmp_path / "run")
    for number in chance.sample(range(len(ids)), 5000):
        assert next(run.find(ids[number][:16])).offset == 100 * number
    assert not any(list(run.find(chance.randbytes(16))) for _ in range(5000))


def test_ids_that_are_not_uniform_are_found_too(tmp_path: Path) -> None:
    """Interpolation only guesses: a run whose prefixes crowd together still finds each."""
    builder = RunBuilder()
    ids = [bytes(6) + number.to_bytes(4, "big") + bytes(22) for number in range(20_000)]
    builder.add_pack(bytes(32), 10, trailer_of(ids))
    (tmp_path / "run").write_bytes(builder.encode())
    run = Run(tmp_path / "run")
    for number in range(0, 20_000, 37):
        assert next(run.find(ids[number][:16])).offset == 100 * number


def test_a_condemned_place_is_read_but_not_relied_upon(tmp_path: Path) -> None:
    """A blob of a tombstoned pack counts as absent for writing, and is still found for reading."""
    first, second = bytes([1]) * 32, bytes([2]) * 32
    condemned, whole = RunBuilder(), RunBuilder()
    condemned.add_pack(b"c" * 32, 10, trailer_of([first, second]))
    whole.add_pack(b"w" * 32, 10, trailer_of([second]))
    for name, builder in (("condemned", condemned), ("whole", whole)):
        (tmp_path / name).write_bytes(builder.encode())
    index = Index([Run(tmp_path / "condemned"), Run(tmp_path / "whole")], frozenset((b"c" * 32,)))
    assert first not in index
    assert second in index
    assert [place.pack for place in index.locations(first)] == [b"c" * 32]
    assert [place.pack for place in index.locations(second)] == [b"w" * 32, b"c" * 32]


def test_the_cache_merges_many_runs_and_finds_all(tmp_path: Path) -> None:
    """Forty runs are asked as at most nine, also after they were replaced in the repository."""
    storage, cache = MemoryStorage(), IndexCache(tmp_path / "cache")
    chance = random.Random(3)
    ids: list[bytes] = []
    for _ in range(40):
        new = [chance.randbytes(32) for _ in range(chance.randrange(1, 300))]
        builder = RunBuilder()
        builder.add_pack(chance.randbytes(32), 10, trailer_of(new))
        put_run(storage, KEY, builder.encode())
        ids += new
        index, damaged = cache.open(storage, KEY, frozenset())
        assert not damaged
        assert len(index.runs) <= 9
        assert all(blob_id in index for blob_id in ids)
    replace_index(storage, KEY, index)
    assert len(list(storage.list(INDEX))) == 1
    index, _ = cache.open(storage, KEY, frozenset())
    assert all(blob_id in index for blob_id in ids)
    assert len(list((tmp_path / "cache").glob("*.run"))) == 1


def test_a_damaged_run_is_named_and_the_rest_opens(tmp_path: Path) -> None:
    """A flipped bit in a stored run is reported by name; the other runs are still asked."""
    storage = MemoryStorage()
    kept, lost = bytes([1]) * 32, bytes([2]) * 32
    names = []
    for blob_id in (kept, lost):
        builder = RunBuilder()
        builder.add_pack(blob_id, 10, trailer_of([blob_id]))
        names.append(INDEX + put_run(storage, KEY, builder.encode()).hex())
    broken = bytearray(storage.get(names[1]))
    broken[60] ^= 1
    storage.corrupt(names[1], bytes(broken))
    index, damaged = IndexCache(tmp_path).open(storage, KEY, frozenset())
    assert [error.name for error in damaged] == [names[1]]
    assert kept in index
    assert lost not in index
