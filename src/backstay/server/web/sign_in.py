"""First set-up, signing in and out, and one's own account."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse, RedirectResponse
from starlette.responses import Response

from backstay.domain.errors import BackstayError, NotSignedIn, UsageError
from backstay.server import browser_sessions
from backstay.server.access import Permission
from backstay.server.control import Control
from backstay.server.sign_in import client_address
from backstay.server.web.templating import render
from backstay.server.web.visit import (
    HEADERS,
    PageRoute,
    SentForm,
    Visit,
    changing,
    require_own_origin,
    seeing,
    text_of,
)

router = APIRouter(route_class=PageRoute, include_in_schema=False)


def _bare(template: str, status: int = 200, **context: object) -> HTMLResponse:
    return HTMLResponse(render(template, **context), status, headers=HEADERS)


def _inside(address: str) -> str:
    """An address of this console, or the overview: never another site's."""
    return address if address.startswith("/") and not address.startswith(("//", "/\\")) else "/"


@router.get("/set-up")
def show_set_up(request: Request) -> Response:
    """Ask for the first administrator."""
    control: Control = request.app.state.control
    with control.database.read() as db:
        if browser_sessions.is_set_up(db):
            return RedirectResponse("/sign-in", 303)
    return _bare("set_up.html", error=None, name="", least=browser_sessions.LEAST_PASSWORD)


@router.post("/set-up")
def set_up(request: Request, form: SentForm) -> Response:
    """Make the first administrator, and sign them in."""
    require_own_origin(request)
    control: Control = request.app.state.control
    name, password = text_of(form, "name"), str(form.get("password", ""))
    now = control.clock()
    answer = RedirectResponse("/", 303)
    try:
        if password != str(form.get("again", "")):
            raise UsageError("the two passwords differ", hint="type the same password twice")
        with control.database.begin() as db:
            person = browser_sessions.set_up(db, name, password, now=now, address=client_address(request))
            browser_sessions.begin(db, person, request, answer, now)
    except UsageError as error:
        least = browser_sessions.LEAST_PASSWORD
        return _bare("set_up.html", 422, error=error, name=name, least=least)
    return answer


@router.get("/sign-in")
def show_sign_in(request: Request, next: str = "/") -> Response:
    """Ask who is there."""
    control: Control = request.app.state.control
    with control.database.read() as db:
        if not browser_sessions.is_set_up(db):
            return RedirectResponse("/set-up", 303)
    return _bare("sign_in.html", error=None, name="", next=_inside(next))


@router.post("/sign-in")
def sign_in(request: Request, form: SentForm) -> Response:
    """Begin a session."""
    require_own_origin(request)
    control: Control = request.app.state.control
    name, back = text_of(form, "name"), _inside(text_of(form, "next", "/"))
    now = control.clock()
    answer = RedirectResponse(back, 303)
    error: BackstayError | None = None
    try:
        with control.database.begin() as db:
            person = browser_sessions.check_password(db, name, str(form.get("password", "")), now)
            if person is not None:
                browser_sessions.begin(db, person, request, answer, now)
        if person is None:
            error = NotSignedIn("the name or the password is wrong", hint="try again")
    except BackstayError as refused:
        error = refused
    if error is not None:
        return _bare("sign_in.html", 401, error=error, name=name, next=back)
    return answer


@router.post("/sign-out")
def sign_out(visit: Annotated[Visit, Depends(changing(Permission.VIEW))]) -> Response:
    """End the session."""
    answer = RedirectResponse("/sign-in", 303)
    with visit.control.database.begin() as db:
        browser_sessions.end(db, visit.request, answer)
    return answer


@router.get("/account")
def account(visit: Annotated[Visit, Depends(seeing(Permission.VIEW))]) -> Response:
    """Who one is, and what one may do."""
    return visit.page("account.html", here="account")
