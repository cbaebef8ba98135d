"""The time left: told when it is steady, by how fast the work was lately."""

from collections.abc import Callable

import pytest

from backstay.domain.time_left import TimeLeft

MIB = 1 << 20


def told(left: TimeLeft, done: Callable[[float], tuple[int, int]], until: float) -> list[float | None]:
    """What is told at every half second of a work that has done so much at each time."""
    return [left.at(number / 2, *done(number / 2)) for number in range(int(until * 2) + 1)]


def test_a_steady_work_is_told_soon_and_rightly() -> None:
    """A tenth of the bytes a second: nothing in the first moments, then what is left of the ten seconds."""
    answers = told(TimeLeft(0, 1000 * MIB), lambda at: (0, int(at * 100 * MIB)), 9)
    assert answers[:6] == [None] * 6
    assert answers[6:] == [pytest.approx(10 - number / 2) for number in range(6, 19)]


def test_a_slow_beginning_frightens_nobody() -> None:
    """A restore that finishes next to nothing at first, and all in ten seconds, never tells of minutes."""

    def done(at: float) -> tuple[int, int]:
        share = 0.0005 * at if at < 4 else 0.002 + (at - 4) / 6
        return int(20_000 * share), int(500 * MIB * share)

    answers = told(TimeLeft(20_000, 500 * MIB), done, 9)
    early = [left for left in answers[: 2 * 4] if left is not None]
    assert all(left is None or left < 60 for left in answers[2 * 4 :])
    assert early == []


def test_a_work_that_jumps_is_not_told() -> None:
    """While each look moves the end by much, there is none to tell."""
    answers = told(TimeLeft(0, 1000 * MIB), lambda at: (0, int(at // 5) * 100 * MIB), 12)
    assert answers == [None] * len(answers)


def test_a_large_file_counts_while_it_is_read() -> None:
    """Files are not finished for a while, and bytes alone tell how fast the work is."""
    answers = told(TimeLeft(10, 10_000 * MIB), lambda at: (0, int(at * 100 * MIB)), 20)
    assert answers[-1] == pytest.approx(80, rel=0.01)


def test_nothing_is_told_where_nothing_was_announced() -> None:
    """Without an estimate, or where nothing moves, there is no end in sight."""
    assert told(TimeLeft(0, 0), lambda at: (int(at), int(at) * MIB), 10)[-1] is None
    assert told(TimeLeft(5, 5 * MIB), lambda at: (1, MIB), 30)[-1] is None
    assert told(TimeLeft(0, 100 * MIB), lambda at: (0, int(min(at, 8) * MIB)), 30)[-1] is None


def test_a_look_every_ten_seconds_is_enough() -> None:
    """Whoever shows something seldom is told as rightly."""
    left = TimeLeft(0, 1000 * MIB)
    answers = [left.at(at, 0, int(at * 5 * MIB)) for at in range(0, 100, 10)]
    assert answers[-1] == pytest.approx(110)
