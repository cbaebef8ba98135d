"""Refuses requests larger than any of ours before they take memory; packs have limits of their own."""

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from backstay.server.problems import problem

MOST_BYTES = 4 << 20
MOST_FROM_AGENTS = 32 << 20
"""The outcome of a job may list ten thousand files."""

_JOBS = "/agent/v1/jobs/"
_STORAGE = "/agent/v1/storage/"


class RequestLimits:
    """An ASGI application around another."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http" or scope["path"].startswith(_STORAGE):
            await self._app(scope, receive, send)
            return
        most = MOST_FROM_AGENTS if scope["path"].startswith(_JOBS) else MOST_BYTES
        length = dict(scope["headers"]).get(b"content-length", b"0")
        if not length.isdigit() or int(length) > most:
            answer = problem(413, "Content Too Large", detail=_what(most), kind="UsageError")
            await answer(scope, receive, send)
            return
        left = most

        async def counting() -> Message:
            nonlocal left
            message = await receive()
            left -= len(message.get("body", b""))
            if left < 0:
                raise HTTPException(413, _what(most))
            return message

        await self._app(scope, counting, send)


def _what(most: int) -> str:
    return f"the request has more than {most} bytes"
