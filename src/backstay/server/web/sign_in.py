"""First set-up, signing in and out, and one's own account."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse, RedirectResponse
from starlette.responses import Response

from backstay.domain.errors import BackstayError, UsageError
from backstay.server import administrators, browser_sessions
from backstay.server.control import Control
from backstay.server.passwords import LEAST_PASSWORD
from backstay.server.problems import status_of
from backstay.server.sign_in import client_address, require_own_origin
from backstay.server.web.templating import render
from backstay.server.web.visit import HEADERS, PageRoute, SentForm, Visit, changing, seeing, text_of

router = APIRouter(route_class=PageRoute, include_in_schema=False)


def _bare(template: str, status: int = 200, **context: object) -> HTMLResponse:
    return HTMLResponse(render(template, **context), status, headers=HEADERS)


def _inside(address: str) -> str:
    """An address of this console, or the overview: never another site's."""
    return address if address.startswith("/") and not address.startswith(("//", "/\\")) else "/"


@router.get("/set-up")
def show_set_up(request: Request, code: str = "") -> Response:
    """Ask for the first administrator."""
    control: Control = request.app.state.control
    with control.database.read() as db:
        if administrators.is_set_up(db):
            return RedirectResponse("/sign-in", 303)
    return _bare("set_up.html", error=None, name="", code=code, least=LEAST_PASSWORD)


@router.post("/set-up")
def set_up(request: Request, form: SentForm) -> Response:
    """Make the first administrator, and sign them in."""
    require_own_origin(request)
    control: Control = request.app.state.control
    name, code = text_of(form, "name"), text_of(form, "code")
    password = str(form.get("password", ""))
    answer = RedirectResponse("/", 303)
    try:
        if password != str(form.get("again", "")):
            raise UsageError("the two passwords differ", hint="type the same password twice")
        made = administrators.set_up(
            control, code=code, name=name, password=password, address=client_address(request)
        )
        browser_sessions.sign_in(request, answer, made.name, password)
    except BackstayError as error:
        return _bare("set_up.html", status_of(error), error=error, name=name, code=code, least=LEAST_PASSWORD)
    return answer


@router.get("/sign-in")
def show_sign_in(request: Request, next: str = "/") -> Response:
    """Ask who is there."""
    control: Control = request.app.state.control
    with control.database.read() as db:
        if not administrators.is_set_up(db):
            return RedirectResponse("/set-up", 303)
    return _bare("sign_in.html", error=None, name="", next=_inside(next))


@router.post("/sign-in")
def sign_in(request: Request, form: SentForm) -> Response:
    """Begin a session."""
    require_own_origin(request)
    name, back = text_of(form, "name"), _inside(text_of(form, "next", "/"))
    answer = RedirectResponse(back, 303)
    try:
        browser_sessions.sign_in(request, answer, name, str(form.get("password", "")))
    except BackstayError as error:
        return _bare("sign_in.html", status_of(error), error=error, name=name, next=back)
    return answer


@router.post("/sign-out")
def sign_out(visit: Annotated[Visit, Depends(changing(None))]) -> Response:
    """End the session."""
    answer = RedirectResponse("/sign-in", 303)
    browser_sessions.sign_out(visit.request, answer)
    return answer


@router.get("/account")
def account(visit: Annotated[Visit, Depends(seeing(None))]) -> Response:
    """Who one is, what one may do, and where one is signed in."""
    return _account(visit, None)


def _account(visit: Visit, error: BackstayError | None) -> Response:
    with visit.control.database.read() as db:
        person = administrators.of_actor(db, visit.actor)
        sessions = browser_sessions.list_sessions(db, person.id, visit.now)
    return visit.page(
        "account.html",
        here="account",
        status=status_of(error) if error else 200,
        person=person,
        sessions=[(browser_sessions.id_of(one), one) for one in sessions],
        this=visit.actor.session_hash,
        error=error,
        least=LEAST_PASSWORD,
    )


@router.post("/account/password")
def change_password(visit: Annotated[Visit, Depends(changing(None))], form: SentForm) -> Response:
    """Choose another password."""
    new = str(form.get("password", ""))
    try:
        if new != str(form.get("again", "")):
            raise UsageError("the two passwords differ", hint="type the same password twice")
        browser_sessions.change_own_password(
            visit.control, visit.actor, old=str(form.get("old", "")), new=new
        )
    except BackstayError as error:
        return _account(visit, error)
    return visit.go("/account", "Your password is changed. Your other sessions have ended.")


@router.post("/account/sessions/{session_id}/end")
def end_session(visit: Annotated[Visit, Depends(changing(None))], session_id: str) -> Response:
    """End one of one's own sessions."""
    with visit.control.database.begin() as db:
        browser_sessions.end_session(db, visit.actor, session_id, now=visit.now)
    return visit.go("/account", "The session is ended")
