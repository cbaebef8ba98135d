"""Structured logs on standard error: JSON lines in a service, readable lines in a terminal.

Everything goes through one chain, what libraries log too. Secrets are blotted out whatever the source: by
the name of the field, and by how they look.
"""

import logging
import sys
from typing import Final, TextIO

import structlog
from structlog.typing import Processor

from backstay.domain.blotting import blot

LEVELS: Final = ("debug", "info", "warning", "error")
# Their lines at level info name whole URLs, or are of no use to whoever runs a server.
_QUIET = ("httpx", "httpcore", "apprise", "boto3", "botocore", "urllib3", "alembic", "asyncio", "aiosmtpd")


def configure(level: str = "info", *, as_json: bool | None = None, stream: TextIO | None = None) -> None:
    """Configure the logs of this process; may be called again.

    Args:
        level: one of LEVELS.
        as_json: None: unless a terminal shows them.
        stream: None: standard error.
    """
    out = stream if stream is not None else sys.stderr
    if as_json is None:
        as_json = not out.isatty()
    number = getattr(logging, level.upper())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    last: list[Processor] = [structlog.stdlib.ProcessorFormatter.remove_processors_meta]
    if as_json:
        last += [structlog.processors.format_exc_info, blot, structlog.processors.JSONRenderer(default=str)]
    else:
        last += [
            structlog.processors.format_exc_info,
            blot,
            structlog.dev.ConsoleRenderer(colors=out.isatty()),
        ]
    handler = logging.StreamHandler(out)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=last))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(number)
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(number, logging.WARNING))
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logger = logging.getLogger(name)
        logger.handlers[:] = []
        logger.setLevel(logging.NOTSET)
        logger.propagate = True
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
