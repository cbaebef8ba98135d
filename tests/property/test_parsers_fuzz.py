"""Whatever bytes a storage or a stolen credential hands over, parsers answer with Backstay's own errors."""

import random
import tracemalloc
from typing import Any

import msgspec
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from parsers import FRAME, Target, outcome, targets

from backstay.repository.compression import decompress

EXAMPLES = 60
TARGETS = targets()
INSIDE = [name for name, target in TARGETS.items() if target.is_msgpack]

anything = st.recursive(
    st.none()
    | st.booleans()
    | st.floats()
    | st.sampled_from([-1, 0, 1, 2**31, 2**32, 2**53, 2**63 - 1, 2**63, 2**64 - 1, -(2**63)])
    | st.binary(max_size=40)
    | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=12,
)


def mutated(whole: bytes, seed: int) -> bytes:
    """`whole` after a few changes: bytes flipped, replaced, cut out, doubled, put in, or cut short."""
    chance = random.Random(seed)
    data = bytearray(whole)
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        at = chance.randrange(len(data) + 1)
        end = min(len(data), at + chance.choice((1, 1, 2, 4, 8, 32)))
        match chance.randrange(6):
            case 0 if at < len(data):
                data[at] ^= 1 << chance.randrange(8)
            case 1:
                data[at:end] = bytes(chance.choice((0, 0x7F, 0x80, 0xFF)) for _ in range(end - at))
            case 2:
                del data[at:end]
            case 3:
                data[at:at] = data[at:end]
            case 4:
                data[at:at] = chance.randbytes(chance.randrange(1, 9))
            case _:
                del data[at:]
    return bytes(data)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every part of a decoded msgpack value, itself included."""
    found = [path]
    if isinstance(value, list | dict):
        for name, inner in enumerate(value) if isinstance(value, list) else list(value.items()):
            found += places(inner, (*path, name))
    return found


def replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    """The value with one part of it replaced."""
    if not path:
        return new
    copy = value.copy()
    copy[path[0]] = replaced(value[path[0]], path[1:], new)
    return copy


def test_every_sample_is_read() -> None:
    """The objects that are mutated below are good ones: else the tests would look at nothing."""
    for name, target in TARGETS.items():
        for sample in target.samples:
            if name not in {"page", "chunk list"}:
                assert outcome(target, sample) == "read", name
    # These name themselves as what is below them, so only their first page can be read.
    assert outcome(TARGETS["page"], TARGETS["page"].samples[0]) == "read"
    assert outcome(TARGETS["chunk list"], TARGETS["chunk list"].samples[0]) == "read"


@pytest.mark.parametrize("name", TARGETS)
@settings(max_examples=EXAMPLES, deadline=None)
@given(data=st.binary(max_size=300))
def test_bytes_of_any_kind(name: str, data: bytes) -> None:
    """No bytes make a parser raise anything but a BackstayError."""
    outcome(TARGETS[name], data)


@pytest.mark.parametrize("name", TARGETS)
@settings(max_examples=EXAMPLES * 2, deadline=None)
@given(seed=st.integers(0, 2**64), which=st.integers(0, 9))
def test_good_objects_with_changes(name: str, seed: int, which: int) -> None:
    """No change of bytes in a good object makes a parser raise anything but a BackstayError."""
    target = TARGETS[name]
    outcome(target, mutated(target.samples[which % len(target.samples)], seed))


@pytest.mark.parametrize("name", INSIDE)
@settings(max_examples=EXAMPLES * 3, deadline=None)
@given(data=st.data(), new=anything)
def test_good_objects_with_other_values(name: str, data: st.DataObject, new: object) -> None:
    """No value in the place of another makes a parser raise anything but a BackstayError."""
    target = TARGETS[name]
    value = msgspec.msgpack.decode(data.draw(st.sampled_from(target.samples)))
    path = data.draw(st.sampled_from(places(value)))
    try:
        changed = msgspec.msgpack.encode(replaced(value, path, new))
    except (UnicodeEncodeError, OverflowError):
        return
    outcome(target, changed)


def peak_of(target: Target, data: bytes) -> int:
    """Bytes of memory that reading `data` takes at most."""
    outcome(target, data)
    tracemalloc.start()
    try:
        outcome(target, data)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


HUGE = {
    "array of 2³² − 1": b"\xdd\xff\xff\xff\xff",
    "map of 2³² − 1": b"\xdf\xff\xff\xff\xff",
    "bytes of 2³² − 1": b"\xc6\xff\xff\xff\xff",
    "text of 2³² − 1": b"\xdb\xff\xff\xff\xff",
    "arrays in arrays": b"\x91" * 100_000,
    "arrays in a record": b"\x93\x01\x00" + b"\x91" * 100_000,
    "huge array in a record": b"\x93\x01\x00\xdd\xff\xff\xff\xff",
}


@pytest.mark.parametrize("shape", HUGE)
@pytest.mark.parametrize("name", INSIDE)
def test_lengths_that_are_lies_take_no_memory(name: str, shape: str) -> None:
    """A few bytes that promise gigabytes, or nest without end, are refused without setting room aside."""
    assert peak_of(TARGETS[name], HUGE[shape]) < 8 << 20


def test_a_run_that_promises_entries_takes_no_memory() -> None:
    """An index run's header is compared with its size before anything else."""
    target = TARGETS["index run"]
    for entries, packs in ((2**64 - 1, 0), (0, 2**32 - 1), (2**58, 1), (1, 0), (0, 1)):
        header = b"BSINDEX1" + entries.to_bytes(8, "little") + packs.to_bytes(4, "little") + bytes(12)
        assert peak_of(target, header) < 8 << 20
        assert outcome(target, header) == "DamagedObject"


def test_a_run_with_an_impossible_pack_number_is_refused() -> None:
    """Entries may name only packs that the run lists, also where runs are merged."""
    target = TARGETS["index run"]
    run = bytearray(target.samples[0])
    run[32 + 48 + 16 * 2] = 1
    assert outcome(target, bytes(run)) == "DamagedObject"


def test_an_unsorted_run_is_refused() -> None:
    """Look-ups rely on the order, so it is checked when a run is fetched."""
    target = TARGETS["index run"]
    run = bytearray(target.samples[0])
    run[80:96] = run[88:96] + run[80:88]
    assert outcome(target, bytes(run)) == "DamagedObject"


@pytest.mark.parametrize("promised", [2**20, 2**40, 2**63 - 1])
def test_a_frame_that_promises_gigabytes_takes_no_memory(promised: int) -> None:
    """What a compressed frame says of its own length is compared with the trailer's, which is bounded."""
    header = b"\x28\xb5\x2f\xfd" + b"\xe0" + promised.to_bytes(8, "little")
    assert zstandard.frame_content_size(header) == promised
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="does not hold"):
            decompress(header + bytes(9), len(FRAME))
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
