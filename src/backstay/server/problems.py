"""What a client sees when something goes wrong: a problem document (RFC 9457), never a traceback."""

from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from backstay.domain.errors import (
    BackstayError,
    Conflict,
    DeliveryFailed,
    Forbidden,
    KeyMissing,
    NotFound,
    NotSignedIn,
    ObjectExists,
    ObjectNotFound,
    StorageFull,
    StorageUnavailable,
    TooManyRequests,
    UsageError,
)

_log = structlog.get_logger()

MEDIA_TYPE = "application/problem+json"

_STATUSES: list[tuple[type[BackstayError], HTTPStatus]] = [
    (UsageError, HTTPStatus.UNPROCESSABLE_ENTITY),
    (NotFound, HTTPStatus.NOT_FOUND),
    (ObjectNotFound, HTTPStatus.NOT_FOUND),
    (Conflict, HTTPStatus.CONFLICT),
    (ObjectExists, HTTPStatus.CONFLICT),
    (KeyMissing, HTTPStatus.CONFLICT),
    (NotSignedIn, HTTPStatus.UNAUTHORIZED),
    (Forbidden, HTTPStatus.FORBIDDEN),
    (TooManyRequests, HTTPStatus.TOO_MANY_REQUESTS),
    (DeliveryFailed, HTTPStatus.BAD_GATEWAY),
    (StorageFull, HTTPStatus.INSUFFICIENT_STORAGE),
    (StorageUnavailable, HTTPStatus.SERVICE_UNAVAILABLE),
]
"""The first that fits counts; any other error of ours is a 500 that says what happened."""


def problem(
    status: int, title: str, *, detail: str = "", hint: str = "", kind: str = "", **extra: Any
) -> JSONResponse:
    """A problem document. `hint` says what to do next; `kind` is the error's class name."""
    body = {"type": "about:blank", "status": status, "title": title, "detail": detail, "hint": hint}
    if kind:
        body["error"] = kind
    return JSONResponse(body | extra, status, media_type=MEDIA_TYPE)


def status_of(error: BackstayError) -> HTTPStatus:
    """The status for an error of ours; what is no fault of the request is noted in the server's log."""
    status = next((status for kind, status in _STATUSES if isinstance(error, kind)), None)
    if status is None:
        status = HTTPStatus.INTERNAL_SERVER_ERROR
        _log.error("request failed", error=type(error).__name__, what=error.what)
    return status


def problem_of(error: BackstayError) -> JSONResponse:
    """The document for an error of ours."""
    status = status_of(error)
    response = problem(status, status.phrase, detail=error.what, hint=error.hint, kind=type(error).__name__)
    if isinstance(error, TooManyRequests):
        response.headers["Retry-After"] = str(error.retry_after)
    return response


def install(app: FastAPI) -> None:
    """Answer every failure of `app` with a problem document."""

    @app.exception_handler(BackstayError)
    async def ours(request: Request, error: BackstayError) -> JSONResponse:
        return problem_of(error)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        wrong = [
            {"where": ".".join(str(part) for part in one["loc"]), "what": one["msg"]}
            for one in error.errors()[:20]
        ]
        detail = "; ".join(f"{one['where']}: {one['what']}" for one in wrong)
        hint = "the API's description at /api/v1/openapi.json says what each field takes"
        return problem(422, "Unprocessable Content", detail=detail, hint=hint, errors=wrong)

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> JSONResponse:
        response = problem(error.status_code, HTTPStatus(error.status_code).phrase, detail=str(error.detail))
        response.headers.update(error.headers or {})
        return response

    @app.exception_handler(Exception)
    async def defect(request: Request, error: Exception) -> JSONResponse:
        _log.error("defect", path=request.url.path, exc_info=error)
        return problem(
            500,
            "Internal Server Error",
            detail=f"sorry, this is a defect of Backstay ({type(error).__name__})",
            hint="the server's log says where it happened; please report it",
        )
