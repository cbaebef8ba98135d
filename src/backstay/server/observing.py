"""Wraps every request: gives it an id, times it, and writes the access log."""

import logging
import re
import secrets
import time
from typing import Any

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from backstay.server.metrics import Metrics

_log = structlog.get_logger("access")

_ID = re.compile(r"[A-Za-z0-9_-]{8,64}", re.ASCII)
_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
_OFTEN = re.compile(r"/agent/v1/(lease|jobs/.*/report|storage/stored)|/static/.*|/metrics")


class Observing:
    """An ASGI application around another.

    The id is the `X-Request-Id` that a proxy gave, or a new one; it is in every line that the request logs,
    and in the answer. What agents ask again and again is logged at level debug.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(scope)
        status, started, sent = 0, 0.0, 0
        began = time.perf_counter()

        async def noting(message: Message) -> None:
            nonlocal status, started, sent
            if message["type"] == "http.response.start":
                status, started = int(message["status"]), time.perf_counter()
                message.setdefault("headers", [])
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode())]
            elif message["type"] == "http.response.body":
                sent += len(message.get("body", b""))
            await send(message)

        # Each request is a task with a context of its own; it stays bound for what logs a defect further out.
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request=request_id)
        try:
            await self._app(scope, receive, noting)
        except Exception:
            status = status or 500
            raise
        finally:
            ended = time.perf_counter()
            method = scope["method"] if scope["method"] in _METHODS else "other"
            # Who went away before there was an answer: 499, as nginx counts it.
            status = status or 499
            self._metrics.request(method, _route(scope), status, (started or ended) - began)
            level = logging.DEBUG if status < 400 and _OFTEN.fullmatch(scope["path"]) else logging.INFO
            _log.log(
                level,
                "request",
                method=method,
                path=scope["path"][:500],
                status=status,
                seconds=round(ended - began, 4),
                bytes=sent,
                address=scope["client"][0] if scope.get("client") else "",
            )


def _request_id(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"x-request-id":
            text = value.decode("latin-1")
            if _ID.fullmatch(text):
                return str(text)
    return secrets.token_hex(8)


def _route(scope: Scope) -> str:
    """The route's pattern, never the path: there must be few of them."""
    route: Any = scope.get("route")
    pattern, matcher = getattr(route, "path", ""), getattr(route, "path_regex", None)
    if pattern and matcher is not None:
        return _prefix(scope["path"], matcher) + str(pattern)
    endpoint = scope.get("endpoint")
    return getattr(endpoint, "__name__", type(endpoint).__name__) if endpoint is not None else "none"


def _prefix(path: str, matcher: re.Pattern[str]) -> str:
    """What routers around the route's own put before it: the route does not know it."""
    parts = path.split("/")
    for count in range(1, min(len(parts), 5)):
        prefix = "/".join(parts[:count])
        if matcher.match(path[len(prefix) :]):
            return prefix
    return ""
