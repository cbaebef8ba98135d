"""What the scan state remembers, in whatever order it is asked."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from backstay.backup.scan_state import Known, ScanState, open_scan_state
from backstay.domain.entry import Totals


@pytest.fixture
def state(tmp_path: Path) -> Iterator[ScanState]:
    """An empty state."""
    with open_scan_state(b"r" * 16, "set", tmp_path) as opened:
        yield opened


def remembered(number: int) -> Known:
    """Something to remember."""
    return Known(number.to_bytes(16, "big"), number.to_bytes(32, "big"), Totals(files=number))


def paths(count: int) -> list[bytes]:
    """Paths of which some are below others, with names that sort before and after the slash."""
    source = random.Random(count)
    parts = [b"a", b"a b", b"a-b", b"b", b"\xff", b"z"]
    return sorted({b"/".join(source.choices(parts, k=source.randint(1, 6))) for _ in range(count)})


@pytest.mark.parametrize("order", ["forwards", "backwards", "random"])
def test_every_order_of_questions_has_the_same_answers(state: ScanState, order: str) -> None:
    """A folder is found, or is not, whichever folders were asked for before."""
    known = {path: remembered(number) for number, path in enumerate(paths(3000)) if number % 3}
    for path, one in known.items():
        state.put_segment(path, b"", one, [])
        state.put_segment(path, b"second", remembered(7), [])
    questions = paths(3000)
    if order == "backwards":
        questions.reverse()
    elif order == "random":
        random.Random(1).shuffle(questions)
    for path in questions:
        found, expected = state.segment(path, b""), known.get(path)
        assert (found and found[:3]) == (expected and expected[:3])


def test_what_is_put_or_forgotten_counts_at_once(state: ScanState) -> None:
    """Nothing that was read ahead outlives a change."""
    for number, path in enumerate((b"a", b"a/b", b"c")):
        state.put_segment(path, b"", remembered(number), [])
    assert state.segment(b"a", b"") is not None
    state.put_segment(b"a/b", b"", remembered(9), [])
    assert state.segment(b"a/b", b"")[:3] == remembered(9)[:3]  # type: ignore[index]
    state.forget_below(b"a")
    assert (state.segment(b"a", b""), state.segment(b"a/b", b"")) == (None, None)
    state.roll_back()
    assert state.segment(b"c", b"") is None


def test_segments_that_are_gone_are_dropped(state: ScanState) -> None:
    """Of a folder only the segments that it has now are left."""
    for first in (b"", b"k", b"p"):
        state.put_segment(b"f", first, remembered(1), [])
    state.put_folder(b"f", remembered(2))
    state.drop_segments(b"f", {b"", b"p"})
    assert (state.segment(b"f", b"k"), state.folder(b"f") is None) == (None, False)
    state.drop_segments(b"f", {b""})
    assert (len(state.segment_pages(b"f")), state.folder(b"f")) == (1, None)


def test_it_says_whether_it_is_empty(state: ScanState) -> None:
    """Empty means that no folder is remembered."""
    assert state.is_empty()
    state.put_segment(b"f", b"", remembered(1), [])
    assert not state.is_empty()
