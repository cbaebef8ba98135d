"""One visit of a page: who looks, what they may do, and how the answer is made.

Every page answers with the same headers: it loads nothing from elsewhere, runs no inline script, is kept by
no cache and shown in no frame. What changes something is a POST with the session's CSRF token.
"""

import base64
import binascii
import json
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, TypeVar
from urllib.parse import quote

from fastapi import Depends, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse
from fastapi.routing import APIRoute
from sqlalchemy import func, select
from starlette.datastructures import FormData
from starlette.responses import Response, StreamingResponse

from backstay.domain.errors import BackstayError, NotFound, NotSignedIn
from backstay.server import sign_in
from backstay.server.access import Actor, Permission
from backstay.server.control import Control
from backstay.server.problems import status_of
from backstay.server.tables import AlertRow
from backstay.server.web.templating import render, render_in_two

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' data:; script-src 'self'; style-src 'self'; object-src 'none'; "
        "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_FLASH = "backstay_flash"
_Answer = TypeVar("_Answer", bound=Response)


@dataclass(frozen=True)
class Viewer:
    """Who looks at a page, as templates see it."""

    name: str
    role: str
    permissions: frozenset[str]


@dataclass(frozen=True)
class Visit:
    """A request for a page by somebody who is signed in and may see it.

    Attributes:
        csrf: the token that forms of this session carry.
        now: the server's time when the request came in.
    """

    request: Request
    control: Control
    actor: Actor
    viewer: Viewer
    csrf: str
    now: datetime

    @property
    def is_part(self) -> bool:
        """Whether htmx asks for a part of a page."""
        return "hx-request" in self.request.headers

    def may(self, permission: Permission) -> bool:
        """Whether the viewer has the permission."""
        return permission in self.actor.permissions

    def part(self, template: str, **context: Any) -> HTMLResponse:
        """A part of a page, without its frame."""
        return HTMLResponse(self.text(template, **context), headers=HEADERS)

    def text(self, template: str, **context: Any) -> str:
        """The text of a template that is given what every template may use."""
        return render(template, viewer=self.viewer, csrf=self.csrf, now=self.now, **context)

    def page(self, template: str, *, here: str, status: int = 200, **context: Any) -> HTMLResponse:
        """A whole page; `here` names its entry in the navigation."""
        text = self.text(template, **self._frame(here), **context)
        return self._told(HTMLResponse(text, status, headers=HEADERS))

    def page_in_two(self, template: str, *, here: str, gather: Callable[[], dict[str, Any]]) -> Response:
        """A whole page whose frame is sent, and painted, while `gather` still looks for the rest.

        The template calls `gather()`, which gives the values, or `error` where they cannot be had.
        """

        def safely() -> dict[str, Any]:
            try:
                return {"error": None, **gather()}
            except BackstayError as error:
                return {"error": error}

        pieces = render_in_two(
            template,
            viewer=self.viewer,
            csrf=self.csrf,
            now=self.now,
            gather=safely,
            **self._frame(here),
        )
        return self._told(StreamingResponse(pieces, media_type="text/html", headers=HEADERS))

    def _frame(self, here: str) -> dict[str, Any]:
        with self.control.database.read() as db:
            active = db.scalar(select(func.count()).where(AlertRow.resolved_at.is_(None))) or 0
        return {"here": here, "alert_count": active, "flash": _flash_of(self.request)}

    def _told(self, answer: _Answer) -> _Answer:
        if _FLASH in self.request.cookies:
            answer.delete_cookie(_FLASH, httponly=True, samesite="lax")
        return answer

    def go(self, address: str, text: str = "", *, tone: str = "good", hint: str = "") -> Response:
        """Lead to another page, where `text` is then told."""
        answer: Response
        if self.is_part:
            answer = Response(status_code=204, headers={"HX-Redirect": address})
        else:
            answer = RedirectResponse(address, 303)
        if text:
            told = json.dumps({"text": text, "tone": tone, "hint": hint}).encode()
            value = base64.urlsafe_b64encode(told).decode()
            answer.set_cookie(_FLASH, value, max_age=60, httponly=True, samesite="lax")
        return answer


def _flash_of(request: Request) -> dict[str, str] | None:
    try:
        told = json.loads(base64.urlsafe_b64decode(request.cookies[_FLASH]))
        return {"text": str(told["text"]), "tone": str(told["tone"]), "hint": str(told["hint"])}
    except (KeyError, TypeError, ValueError, binascii.Error):
        return None


async def _sent_form(request: Request) -> FormData:
    return await request.form(max_files=0, max_fields=20_000)


SentForm = Annotated[FormData, Depends(_sent_form)]


def text_of(form: FormData, name: str, default: str = "") -> str:
    """A field's text, without blanks around it."""
    value = form.get(name, default)
    return value.strip() if isinstance(value, str) else default


def texts_of(form: FormData, name: str) -> list[str]:
    """All values of a field that is sent several times, or of several lines, without empty ones."""
    lines = [line for value in form.getlist(name) if isinstance(value, str) for line in value.splitlines()]
    return [line.strip() for line in lines if line.strip()]


class PasswordIsOld(NotSignedIn):
    """Somebody who has to choose a password of their own first."""


def seeing(permission: Permission | None) -> Callable[[Request], Visit]:
    """A dependency: the visit of somebody who has the permission; None: of anybody who is signed in."""

    def visit(request: Request) -> Visit:
        return _visit(request, permission)

    return visit


def changing(permission: Permission | None) -> Callable[[Request, FormData], Visit]:
    """A dependency: the same for a request that changes something; it must carry the CSRF token."""

    def visit(request: Request, form: SentForm) -> Visit:
        sign_in.require_csrf_token(request, sign_in.session_of(request), text_of(form, "csrf_token"))
        return _visit(request, permission)

    return visit


def _visit(request: Request, permission: Permission | None) -> Visit:
    control: Control = request.app.state.control
    session = sign_in.session_of(request)
    if session.must_change_password and not request.url.path.startswith("/account"):
        raise PasswordIsOld("a password has to be chosen first", hint="choose one")
    if permission is not None:
        session.actor.require(permission)
    allowed = frozenset(str(one) for one in session.actor.permissions)
    viewer = Viewer(session.actor.name, session.role.value, allowed)
    return Visit(request, control, session.actor, viewer, session.csrf_token, control.clock())


class PageRoute(APIRoute):
    """A route whose failures are pages too, never bare documents."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler, with failures made pages."""
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            try:
                return await handler(request)
            except BackstayError as error:
                return failure_page(request, error)
            except RequestValidationError:
                return failure_page(request, NotFound("there is no such page", hint="check its address"))

        return handle


def failure_page(request: Request, error: BackstayError) -> Response:
    """What a person sees of an error: where to sign in, or what happened and what to do."""
    is_part = "hx-request" in request.headers
    if isinstance(error, PasswordIsOld):
        return RedirectResponse("/account", 303, headers={"Cache-Control": "no-store"})
    if isinstance(error, NotSignedIn):
        back = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        if request.method != "GET" or is_part:
            back = "/"
        address = "/sign-in" if back == "/" else f"/sign-in?next={quote(back, safe='')}"
        if is_part:
            return Response(status_code=204, headers={"HX-Redirect": address})
        return RedirectResponse(address, 303, headers={"Cache-Control": "no-store"})
    status = status_of(error)
    if is_part:
        return JSONResponse({"title": _sentence(error.what), "hint": _sentence(error.hint)}, status)
    text = render("failure.html", what=_sentence(error.what), hint=_sentence(error.hint), status=status)
    return HTMLResponse(text, status, headers=HEADERS)


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith('.') else '.'}" if text else ""
