"""Signing in and out with a browser, or as a person from a program.

The browser keeps a secret in a cookie, the server the hash of it. A session begins with a fresh secret,
whatever the browser brought along, so that nobody can plant one. It ends when it was idle for too long, at
its longest time, at sign-out, with another password, and when the administrator is disabled.
"""

import secrets
from dataclasses import dataclass
from datetime import datetime

from fastapi import Request
from sqlalchemy import delete, or_, select
from sqlalchemy.orm import Session
from starlette.responses import Response

from backstay.domain.errors import Forbidden, NotFound, NotSignedIn, UsageError
from backstay.server import administrators, audit, passwords, sign_in_limits
from backstay.server.access import PERMISSIONS, Actor, Permission, Role
from backstay.server.control import Control
from backstay.server.sign_in import IDLE, LONGEST, client_address, cookie_name, hash_of, is_https
from backstay.server.tables import Administrator, SignInSession

_ID_DIGITS = 16


@dataclass(frozen=True)
class NewSession:
    """A session that has begun; `secret` is for the cookie alone."""

    administrator: Administrator
    role: Role
    secret: str
    csrf_token: str

    @property
    def permissions(self) -> frozenset[Permission]:
        """What the role permits; nothing before the password was changed, where it has to be."""
        return frozenset() if self.administrator.must_change_password else PERMISSIONS[self.role]


def sign_in(request: Request, answer: Response, name: str, password: str) -> NewSession:
    """Begin a session, and give its cookie to the browser; the session that it had before ends.

    Unknown and disabled names take as long, and are refused in the same words, as a wrong password.

    Raises:
        NotSignedIn: name or password is wrong.
        TooManyRequests: too many attempts.
    """
    control: Control = request.app.state.control
    name, now, address = administrators.normal_name(name), control.clock(), client_address(request)
    person = _checked(control, name, password, address, now)
    secret = secrets.token_urlsafe(32)
    row = SignInSession(
        secret_hash=hash_of(secret),
        administrator_id=person.id,
        csrf_token=secrets.token_urlsafe(24),
        created_at=now,
        last_used_at=now,
        expires_at=now + LONGEST,
        address=address[:64],
        user_agent=request.headers.get("user-agent", "")[:255],
    )
    with control.database.begin() as db:
        _end(db, request)
        sign_in_limits.forgive(db, name, address)
        db.get_one(Administrator, person.id).last_sign_in_at = now
        db.add(row)
        who = Actor(person.name, frozenset(), address, person.id)
        audit.record(db, who, "session.begin", person.name, now=now)
    answer.set_cookie(
        cookie_name(control),
        secret,
        max_age=int(LONGEST.total_seconds()),
        secure=is_https(control),
        httponly=True,
        samesite="lax",
    )
    return NewSession(person, Role(person.role), secret, row.csrf_token)


def _checked(control: Control, name: str, password: str, address: str, now: datetime) -> Administrator:
    """The administrator of this name, whose password it is; nothing is held while it is hashed."""
    with control.database.begin() as db:
        sign_in_limits.count_attempt(db, name, address, now)
        person = administrators.find_administrator(db, name)
    right = passwords.verified(password, person.password_hash if person else None)
    if person is not None and right and person.disabled_at is None:
        return person
    with control.database.begin() as db:
        # People type passwords where names belong: only names that exist are written down.
        subject = person.name if person else "an unknown name"
        lock = sign_in_limits.locked_until(db, [name], now).get(name)
        after = {"locked_until": lock.isoformat()} if lock else None
        who = Actor("nobody", frozenset(), address)
        audit.record(db, who, "session.refuse", subject, now=now, after=after)
    raise NotSignedIn("the name or the password is wrong", hint="try again, or ask an administrator")


def sign_out(request: Request, answer: Response) -> None:
    """End the browser's session, if it has one."""
    control: Control = request.app.state.control
    with control.database.begin() as db:
        ended = _end(db, request)
        if ended is not None:
            who = Actor(ended.name, frozenset(), client_address(request), ended.id)
            audit.record(db, who, "session.end", ended.name, now=control.clock())
    answer.delete_cookie(cookie_name(control), secure=is_https(control), httponly=True, samesite="lax")


def _end(db: Session, request: Request) -> Administrator | None:
    secret = request.cookies.get(cookie_name(request.app.state.control))
    row = db.get(SignInSession, hash_of(secret)) if secret else None
    if row is None:
        return None
    person = row.administrator
    db.delete(row)
    return person


def change_own_password(control: Control, actor: Actor, *, old: str, new: str) -> None:
    """Choose another password; all other sessions of the same person end.

    Raises:
        Forbidden: the old password is wrong. UsageError: the new one will not do.
        TooManyRequests: too many attempts with an old one.
    """
    now = control.clock()
    with control.database.read() as db:
        person = administrators.of_actor(db, actor)
    try:
        _checked(control, person.name, old, actor.address, now)
    except NotSignedIn:
        raise Forbidden("the present password is wrong", hint="type the one you signed in with") from None
    if new == old:
        raise UsageError("the new password is the old one", hint="choose another one")
    with control.database.begin() as db:
        person = administrators.get_administrator(db, person.id)
        administrators.set_password(db, person, new)
        administrators.end_sessions(db, person.id, but=actor.session_hash)
        sign_in_limits.forgive(db, person.name, actor.address)
        audit.record(db, actor, "administrator.change_password", person.name, now=now)


def list_sessions(db: Session, administrator_id: int, now: datetime) -> list[SignInSession]:
    """The sessions of an administrator that have not ended, the newest first."""
    return list(
        db.scalars(
            select(SignInSession)
            .where(
                SignInSession.administrator_id == administrator_id,
                SignInSession.expires_at > now,
                SignInSession.last_used_at > now - IDLE,
            )
            .order_by(SignInSession.created_at.desc(), SignInSession.secret_hash)
        )
    )


def id_of(session: SignInSession) -> str:
    """What a session is called where it is listed."""
    return session.secret_hash[:_ID_DIGITS]


def end_session(db: Session, actor: Actor, session_id: str, *, now: datetime) -> None:
    """End one of the actor's own sessions. Raises NotFound."""
    rows = list_sessions(db, administrators.of_actor(db, actor).id, now)
    row = next((row for row in rows if id_of(row) == session_id), None)
    if row is None:
        raise NotFound("there is no such session of yours", hint="it may have ended already")
    db.delete(row)
    audit.record(db, actor, "session.end", f"session {session_id}", now=now)


def sign_out_everywhere(db: Session, actor: Actor, administrator_id: int, *, now: datetime) -> None:
    """End all sessions of an administrator: one's own, or with the permission to manage. Raises NotFound."""
    if administrator_id != actor.administrator_id:
        actor.require(Permission.MANAGE)
    person = administrators.get_administrator(db, administrator_id)
    administrators.end_sessions(db, person.id)
    audit.record(db, actor, "session.end_all", person.name, now=now)


def sweep(control: Control) -> None:
    """Delete sessions that have ended, and failures that do not count any more."""
    now = control.clock()
    with control.database.begin() as db:
        db.execute(
            delete(SignInSession).where(
                or_(SignInSession.expires_at <= now, SignInSession.last_used_at <= now - IDLE)
            )
        )
        sign_in_limits.forget_old(db, now)
