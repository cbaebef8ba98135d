"""Signing in and out as a person, and who one is."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Path, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from backstay.server import administrators, api_tokens, browser_sessions
from backstay.server.access import Permission, Role
from backstay.server.api.dependencies import PUBLIC, Anybody, ControlDep
from backstay.server.sign_in import require_own_origin, session_of
from backstay.server.tables import SignInSession

router = APIRouter(tags=["session"])

Password = Annotated[str, Field(min_length=1, max_length=1000)]


class Credentials(BaseModel):
    """Who one says one is."""

    model_config = ConfigDict(extra="forbid")
    name: str = Field(min_length=1, max_length=255)
    password: Password


class SessionView(BaseModel):
    """Whoever asks, and what they may do."""

    name: str
    administrator: str
    administrator_id: int
    role: Role
    permissions: list[Permission] = Field(description="what the role permits, and the token's scopes leave")
    csrf_token: str | None = Field(
        description="to be sent as X-CSRF-Token with everything that changes something; null for a token"
    )
    must_change_password: bool = Field(description="nothing else is allowed until it is done")
    token_id: int | None


class PasswordChange(BaseModel):
    """Another password for oneself."""

    model_config = ConfigDict(extra="forbid")
    password: Password = Field(description="the present one")
    new_password: Password


class OpenSession(BaseModel):
    """A browser, or a program, that is signed in."""

    id: str
    created_at: datetime
    last_used_at: datetime
    expires_at: datetime
    address: str
    user_agent: str
    this_one: bool = Field(description="whether it is the one that asks")


@router.post("/session", status_code=201, dependencies=[PUBLIC])
def sign_in(request: Request, response: Response, wanted: Credentials) -> SessionView:
    """Sign in with name and password; the answer sets the session's cookie."""
    require_own_origin(request)
    made = browser_sessions.sign_in(request, response, wanted.name, wanted.password)
    person = made.administrator
    return SessionView(
        name=person.name,
        administrator=person.name,
        administrator_id=person.id,
        role=made.role,
        permissions=sorted(made.permissions),
        csrf_token=made.csrf_token,
        must_change_password=person.must_change_password,
        token_id=None,
    )


@router.get("/session")
def who_am_i(request: Request, control: ControlDep, actor: Anybody) -> SessionView:
    """Who the server takes you for."""
    session = session_of(request) if actor.token_id is None else None
    with control.database.read() as db:
        person = administrators.of_actor(db, actor)
    return SessionView(
        name=actor.name,
        administrator=person.name,
        administrator_id=person.id,
        role=Role(person.role),
        permissions=sorted(actor.permissions),
        csrf_token=session.csrf_token if session else None,
        must_change_password=session.must_change_password if session else False,
        token_id=actor.token_id,
    )


@router.delete("/session", status_code=204)
def sign_out(request: Request, response: Response, control: ControlDep, actor: Anybody) -> None:
    """End the session; of an API token, revoke it."""
    if actor.token_id is None:
        browser_sessions.sign_out(request, response)
        return
    with control.database.begin() as db:
        api_tokens.revoke(db, actor, actor.token_id, now=control.clock())


@router.put("/session/password", status_code=204)
def change_password(control: ControlDep, actor: Anybody, wanted: PasswordChange) -> None:
    """Choose another password for oneself; one's other sessions end."""
    browser_sessions.change_own_password(control, actor, old=wanted.password, new=wanted.new_password)


@router.get("/sessions")
def list_sessions(control: ControlDep, actor: Anybody) -> list[OpenSession]:
    """One's own sessions that have not ended."""
    with control.database.read() as db:
        person = administrators.of_actor(db, actor)
        rows = browser_sessions.list_sessions(db, person.id, control.clock())
    return [_view(row, actor.session_hash) for row in rows]


@router.delete("/sessions", status_code=204)
def sign_out_everywhere(control: ControlDep, actor: Anybody) -> None:
    """End all of one's own sessions, this one too. API tokens stay."""
    with control.database.begin() as db:
        person = administrators.of_actor(db, actor)
        browser_sessions.sign_out_everywhere(db, actor, person.id, now=control.clock())


@router.delete("/sessions/{session_id}", status_code=204)
def end_session(control: ControlDep, actor: Anybody, session_id: Annotated[str, Path(max_length=64)]) -> None:
    """End one of one's own sessions."""
    with control.database.begin() as db:
        browser_sessions.end_session(db, actor, session_id, now=control.clock())


def _view(row: SignInSession, asking: str) -> OpenSession:
    return OpenSession(
        id=browser_sessions.id_of(row),
        created_at=row.created_at,
        last_used_at=row.last_used_at,
        expires_at=row.expires_at,
        address=row.address,
        user_agent=row.user_agent,
        this_one=row.secret_hash == asking,
    )
