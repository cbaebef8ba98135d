"""Where the agent's messages go as a Windows service: to a file, and what matters to the event log."""

import sys
from collections.abc import Callable, MutableMapping
from pathlib import Path
from typing import Any, Final, TextIO

import structlog

_MOST_BYTES: Final = 8 << 20
_NAME: Final = "agent.log"

Tell = Callable[[str, str], None]
"""Takes a level and a line."""


def log_to(folder: Path, tell: Tell) -> TextIO:
    """Send what the agent logs to a file in its folder, and warnings and errors to `tell` as well.

    A service has no standard output; what is printed goes to the file, too. A file that has grown long
    becomes `agent.log.1`. Raises OSError.
    """
    path = folder / _NAME
    folder.mkdir(parents=True, exist_ok=True)
    if path.exists() and path.stat().st_size > _MOST_BYTES:
        path.replace(path.with_suffix(".log.1"))
    file = path.open("a", encoding="utf-8", errors="backslashreplace", buffering=1)
    sys.stdout = sys.stderr = file
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.format_exc_info,
            _telling(tell),
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.PrintLoggerFactory(file),
        cache_logger_on_first_use=False,
    )
    return file


def _telling(tell: Tell) -> structlog.typing.Processor:
    def processor(logger: object, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        level = str(event.get("level", method))
        if level in ("warning", "error", "critical"):
            facts = (f"{key}: {value}" for key, value in event.items() if key not in _OWN)
            tell(level, "; ".join([str(event.get("event", "")), *facts]))
        return event

    return processor


_OWN: Final = frozenset(("event", "level", "timestamp"))
