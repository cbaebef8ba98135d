"""Finds who is behind a request: an API token, or a browser's session."""

import hashlib
from datetime import timedelta

from fastapi import Request
from sqlalchemy import select

from backstay.domain.errors import NotSignedIn
from backstay.server.access import PERMISSIONS, Actor, Permission, Role
from backstay.server.control import Control
from backstay.server.tables import ApiToken

_SEEN_EVERY = timedelta(minutes=1)


def hash_of(secret: str) -> str:
    """What is kept of a secret that is random and long: its SHA-256."""
    return hashlib.sha256(secret.encode()).hexdigest()


def actor_of(request: Request) -> Actor:
    """Whoever is behind the request. Raises NotSignedIn."""
    control: Control = request.app.state.control
    kind, _, secret = request.headers.get("authorization", "").partition(" ")
    if kind.lower() != "bearer" or not secret:
        raise NotSignedIn(
            "the request says not who is asking",
            hint="send an API token as `Authorization: Bearer …`, or sign in",
        )
    now = control.clock()
    with control.database.begin() as db:
        token = db.scalars(select(ApiToken).where(ApiToken.secret_hash == hash_of(secret.strip()))).first()
        if token is None or token.revoked_at or (token.expires_at and token.expires_at <= now):
            raise NotSignedIn("the API token does not hold (any more)", hint="make a new one")
        person = token.administrator
        if person.disabled_at:
            raise NotSignedIn(f"{person.name} is disabled", hint="ask an administrator")
        if token.last_used_at is None or now - token.last_used_at > _SEEN_EVERY:
            token.last_used_at = now
        scopes = frozenset(Permission(scope) for scope in token.scopes)
        permissions = PERMISSIONS[Role(person.role)] & scopes
        name = f"{person.name} (token {token.name})"
        return Actor(name, permissions, client_address(request), person.id)


def client_address(request: Request) -> str:
    """Where a request came from."""
    return request.client.host if request.client else ""
