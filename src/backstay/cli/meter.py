"""One number that grows, shown now and then: for work that has no steps."""

import sys
import time
from types import TracebackType

from backstay.cli.output import Output
from backstay.cli.text import size

_TERMINAL_SECONDS = 0.1
_JSON_SECONDS = 1.0
_PLAIN_SECONDS = 10.0


class Meter:
    """Call it with bytes done and bytes in all, as often as you like."""

    def __init__(self, verb: str, output: Output) -> None:
        self._verb = verb
        self._output = output
        if output.as_json:
            self._period = _JSON_SECONDS
        else:
            self._period = _TERMINAL_SECONDS if output.is_terminal else _PLAIN_SECONDS
        self._started = self._last = time.monotonic()
        self._drawn = False

    def __enter__(self) -> "Meter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._drawn:
            sys.stdout.write("\r\x1b[K")
            sys.stdout.flush()

    def __call__(self, done: int, total: int) -> None:
        """Show it, when it is time."""
        now = time.monotonic()
        if now - self._last < self._period:
            return
        self._last = now
        rate = done / (now - self._started)
        self._output.event("progress", {"bytes": done, "of_bytes": total, "bytes_per_second": round(rate)})
        line = f"{self._verb}: {size(done)} of {size(total)}, {size(rate)}/s"
        if self._output.is_terminal:
            self._drawn = True
            sys.stdout.write(f"\r\x1b[K{line}")
            sys.stdout.flush()
        else:
            self._output.line(line)
