"""The last lines that this agent has logged, to be told to its server: bounded, and without secrets."""

import threading
import time
from collections import deque
from collections.abc import MutableMapping, Sequence
from typing import Any, Final

import structlog

from backstay.domain.blotting import blot
from backstay.protocol.ticket import MOST_LOG_LINES, LogLine

_KEPT: Final = 300
_LONGEST: Final = 500
_OWN: Final = frozenset({"event", "level", "timestamp", "logger", "exc_info", "exception", "stack_info"})


class RecentLog:
    """A processor of structlog that keeps the last lines; the oldest untold ones go first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._untold: deque[LogLine] = deque(maxlen=_KEPT)

    def __call__(
        self, logger: object, method: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        """Keep the line, and pass the event on as it is."""
        told = blot(logger, method, dict(event))
        facts = [
            f"{name}={value}" for name, value in told.items() if name not in _OWN and value not in ("", None)
        ]
        if isinstance(error := event.get("exc_info"), BaseException):
            facts.append(f"({type(error).__name__}: {error})")
        text = " ".join([str(told.get("event", "")), *facts])[:_LONGEST]
        level = str(told.get("level", method))[:16]
        with self._lock:
            self._untold.append(LogLine(at_ns=time.time_ns(), level=level, text=text))
        return event

    def listen(self) -> None:
        """Keep what this process logs from now on."""
        processors = structlog.get_config()["processors"]
        if self not in processors:
            structlog.configure(processors=[*processors[:-1], self, processors[-1]])

    def take(self) -> list[LogLine]:
        """Lines to tell, the oldest first; they are gone from here."""
        with self._lock:
            return [self._untold.popleft() for _ in range(min(MOST_LOG_LINES, len(self._untold)))]

    def give_back(self, lines: Sequence[LogLine]) -> None:
        """Lines that could not be told; where there is no room for all, the oldest go."""
        with self._lock:
            room = _KEPT - len(self._untold)
            self._untold.extendleft(reversed(lines[-room:] if room else []))


RECENT: Final = RecentLog()
"""Of this process."""
