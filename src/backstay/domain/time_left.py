"""How long something that is under way still takes, told only where that can be told."""

from collections import deque
from typing import Final

_BYTES_A_FILE: Final = 32 << 10
"""To open, make and close a file takes about as long as this much content, whatever its size."""
_WINDOW_SECONDS: Final = 15.0
_STEP_SECONDS: Final = 0.5
_LEAST_LOOKS: Final = 6
_LEAST_SECONDS: Final = 3.0
_LEAST_SHARE: Final = 0.02
_SURE_SECONDS: Final = 10.0
"""Before that, less than the least share tells nothing: much is under way, little of it finished."""
_MOST_SPREAD: Final = 0.25
_MOST_SPREAD_SECONDS: Final = 2.0


class TimeLeft:
    """Reckons the seconds left of one step from how fast it was lately; silent until that is steady.

    The mean since the beginning would not do: at first little is finished of what is under way, and minutes
    are told of a work of seconds.

    Args:
        files, size: how many files and bytes the step has before it; 0 where that is not known.
    """

    def __init__(self, files: int, size: int) -> None:
        self._counts = bool(files), bool(size)
        self._all = self._work(files, size)
        self._done: deque[tuple[float, int]] = deque()
        self._ends: deque[tuple[float, float]] = deque()

    def at(self, elapsed: float, files: int, size: int) -> float | None:
        """Seconds left; None where that is not known, or differed much a moment ago.

        Args:
            elapsed: seconds since the step began; never less than at the call before.
            files, size: done so far.
        """
        if not self._all:
            return None
        done = min(self._work(files, size), self._all)
        if not self._done or elapsed - self._done[-1][0] >= _STEP_SECONDS:
            self._look(elapsed, done)
        begun = elapsed >= _LEAST_SECONDS and (elapsed >= _SURE_SECONDS or done >= _LEAST_SHARE * self._all)
        if not begun or len(self._ends) < _LEAST_LOOKS:
            return None
        ends = [end for _, end in self._ends]
        left = max(ends[-1] - elapsed, 0.0)
        steady = max(ends) - min(ends) <= max(_MOST_SPREAD * left, _MOST_SPREAD_SECONDS)
        return left if steady else None

    def _look(self, elapsed: float, done: int) -> None:
        self._done.append((elapsed, done))
        since = elapsed - _WINDOW_SECONDS
        # One before the window stays: a look every ten seconds is enough for a rate.
        while len(self._done) > 2 and self._done[1][0] <= since:
            self._done.popleft()
        first, was = self._done[0]
        if done <= was or elapsed <= first:
            self._ends.clear()
            return
        self._ends.append((elapsed, elapsed + (self._all - done) * (elapsed - first) / (done - was)))
        while len(self._ends) > _LEAST_LOOKS:
            self._ends.popleft()

    def _work(self, files: int, size: int) -> int:
        of_files, of_bytes = self._counts
        return files * _BYTES_A_FILE * of_files + size * of_bytes
