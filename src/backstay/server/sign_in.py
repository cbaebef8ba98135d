"""Finds who is behind a request: an API token, or a browser's session.

A browser sends its cookie along whoever made it ask, so that what a session changes needs the session's CSRF
token too. A token in the `Authorization` header is sent by nobody but its owner.
"""

import hashlib
import hmac
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import urlsplit

from fastapi import Request
from sqlalchemy import select
from sqlalchemy.orm import Session

from backstay.domain.errors import Forbidden, NotSignedIn
from backstay.server.access import PERMISSIONS, Actor, Permission, Role
from backstay.server.control import Control
from backstay.server.tables import Administrator, ApiToken, SignInSession

IDLE = timedelta(hours=12)
LONGEST = timedelta(days=7)
"""A session ends after this time without a request, and after this time in any case."""

_SEEN_EVERY = timedelta(minutes=1)
_SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}
_OUR_SITE = {"same-origin", "none"}
_MUST_CHANGE = "choose a password of your own first: the one you signed in with was given to you"


@dataclass(frozen=True)
class BrowserSession:
    """Somebody who is signed in with a browser.

    Attributes:
        csrf_token: what changes something must carry it.
        must_change_password: until they have, they may do nothing else.
    """

    actor: Actor
    role: Role
    csrf_token: str
    must_change_password: bool


def hash_of(secret: str) -> str:
    """What is kept of a secret that is random and long: its SHA-256."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()


def actor_of(request: Request, *, csrf_token: str = "") -> Actor:
    """Whoever is behind the request.

    Args:
        csrf_token: as a form has sent it; the header X-CSRF-Token will do as well.

    Raises:
        NotSignedIn: nobody, or nobody any more.
        Forbidden: a session that would change something, and shows no CSRF token.
    """
    if "authorization" in request.headers:
        return _token_actor(request)
    session = session_of(request)
    if request.method not in _SAFE_METHODS:
        require_csrf_token(request, session, csrf_token)
    return session.actor


def _token_actor(request: Request) -> Actor:
    control: Control = request.app.state.control
    kind, _, secret = request.headers["authorization"].partition(" ")
    if kind.lower() != "bearer" or not secret.strip():
        raise NotSignedIn(
            "the request says not who is asking",
            hint="send an API token as `Authorization: Bearer …`, or sign in",
        )
    now, address = control.clock(), client_address(request)
    with control.database.read() as db:
        token = db.scalars(select(ApiToken).where(ApiToken.secret_hash == hash_of(secret.strip()))).first()
        if token is None or token.revoked_at or (token.expires_at and token.expires_at <= now):
            raise NotSignedIn(
                "the API token does not hold (any more)", hint="make a new one, or log in again"
            )
        person = token.administrator
        _require_enabled(person)
        scopes = frozenset(Permission(scope) for scope in token.scopes)
        actor = Actor(
            f"{person.name} (token {token.name})",
            PERMISSIONS[Role(person.role)] & scopes,
            address,
            person.id,
            token_id=token.id,
        )
        stale = _is_stale(token.last_used_at, now) or token.last_used_address != address
    if stale:
        with control.database.begin() as db:
            used = db.get_one(ApiToken, token.id)
            used.last_used_at, used.last_used_address = now, address[:64]
    return actor


def session_of(request: Request) -> BrowserSession:
    """The session behind the request's cookie; checks no CSRF token. Raises NotSignedIn."""
    control: Control = request.app.state.control
    secret = request.cookies.get(cookie_name(control))
    if not secret:
        raise NotSignedIn("nobody is signed in", hint="sign in, or send an API token")
    now = control.clock()
    with control.database.read() as db:
        row = live_session(db, secret, now)
        if row is None:
            raise NotSignedIn("the session has ended", hint="sign in again")
        person = row.administrator
        _require_enabled(person)
        must_change = person.must_change_password
        actor = Actor(
            person.name,
            frozenset() if must_change else PERMISSIONS[Role(person.role)],
            client_address(request),
            person.id,
            session_hash=row.secret_hash,
            limited_because=_MUST_CHANGE if must_change else "",
        )
        found = BrowserSession(actor, Role(person.role), row.csrf_token, must_change)
        stale = _is_stale(row.last_used_at, now)
    if stale:
        with control.database.begin() as db:
            used = db.get(SignInSession, actor.session_hash)
            if used is not None:
                used.last_used_at = now
    return found


def live_session(db: Session, secret: str, now: datetime) -> SignInSession | None:
    """The session of this secret, if it has not ended."""
    row = db.get(SignInSession, hash_of(secret))
    if row is None or row.expires_at <= now or row.last_used_at + IDLE <= now:
        return None
    return row


def require_csrf_token(request: Request, session: BrowserSession, given: str = "") -> None:
    """Raises Forbidden where the request does not come from a page of this session."""
    given = request.headers.get("x-csrf-token", "") or given
    if not hmac.compare_digest(given.encode("utf-8", "replace"), session.csrf_token.encode()):
        raise Forbidden(
            "the request does not show the session's CSRF token",
            hint="load the page anew; programs send `X-CSRF-Token` as GET /api/v1/session tells it",
        )
    require_own_origin(request)


def require_own_origin(request: Request) -> None:
    """Refuse what another site's page asks for, also before anybody is signed in. Raises Forbidden."""
    control: Control = request.app.state.control
    site = request.headers.get("sec-fetch-site")
    origin = request.headers.get("origin")
    # A proxy may have put its own name for this server in the place of the one that the browser knows.
    ours = {request.headers.get("host"), urlsplit(control.settings.public_url).netloc}
    if (site is not None and site not in _OUR_SITE) or (
        origin is not None and origin.partition("://")[2] not in ours
    ):
        raise Forbidden("the request comes from another site's page", hint="open the console itself")


def cookie_name(control: Control) -> str:
    """What the session's cookie is called.

    With HTTPS it has the prefix with which browsers take it from this very host over HTTPS alone (RFC
    6265bis, 4.1.3.2), so that no neighbour can plant one.
    """
    return "__Host-backstay" if is_https(control) else "backstay"


def is_https(control: Control) -> bool:
    """Whether browsers reach the server over HTTPS, its own or that of a proxy before it."""
    return control.settings.tls != "off" or control.settings.public_url.startswith("https:")


def client_address(request: Request) -> str:
    """Where a request came from."""
    return request.client.host if request.client else ""


def _require_enabled(person: Administrator) -> None:
    if person.disabled_at:
        raise NotSignedIn(f"{person.name} is disabled", hint="ask an administrator")


def _is_stale(last: datetime | None, now: datetime) -> bool:
    return last is None or now - last > _SEEN_EVERY
