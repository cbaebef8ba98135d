"""API tokens: let a program act for an administrator, within scopes, until they expire or are revoked.

A token may make others, with no more scopes and no longer than itself; they are revoked with it, so that
revoking a stolen one leaves nothing behind.
"""

import secrets
import string
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from backstay.domain.errors import Forbidden, NotFound, UsageError
from backstay.server import administrators, audit
from backstay.server.access import Actor, Permission
from backstay.server.sign_in import hash_of
from backstay.server.tables import ApiToken

PREFIX = "backstay_"
"""So that scanners for secrets know one: the prefix and 43 letters and digits (256 bits)."""

_ALPHABET = string.ascii_letters + string.digits
_LENGTH = 43
LONGEST = timedelta(days=2 * 366)


@dataclass(frozen=True)
class NewApiToken:
    """A token as it is shown, once."""

    id: int
    token: str
    expires_at: datetime | None


def create(
    db: Session,
    actor: Actor,
    *,
    now: datetime,
    name: str,
    scopes: Collection[Permission],
    valid_for: timedelta | None = None,
) -> NewApiToken:
    """Make a token for the actor.

    Args:
        valid_for: None: until it is revoked, or as long as the token that makes it.

    Raises:
        UsageError: it could never be used, or would live too long.
        Forbidden: it could do more, or longer, than the actor.
    """
    person = administrators.of_actor(db, actor)
    if not 1 <= len(name) <= 64 or not name.isprintable():
        raise UsageError("that cannot be the name of an API token", hint="use 1 to 64 printable characters")
    if not scopes:
        raise UsageError("the API token would be of no use without a scope", hint="give it at least one")
    if valid_for is not None and not timedelta(0) < valid_for <= LONGEST:
        raise UsageError("an API token lives up to two years", hint="make it expire sooner, or give no time")
    for scope in sorted(scopes):
        actor.require(scope)
    expires_at = now + valid_for if valid_for is not None else None
    if actor.token_id is not None:
        limit = db.get_one(ApiToken, actor.token_id).expires_at
        if limit is not None and expires_at is None:
            expires_at = limit
        elif limit is not None and expires_at is not None and expires_at > limit:
            raise Forbidden(
                "an API token cannot make one that lives longer than itself", hint="sign in with a password"
            )
    secret = PREFIX + "".join(secrets.choice(_ALPHABET) for _ in range(_LENGTH))
    row = ApiToken(
        name=name,
        administrator_id=person.id,
        secret_hash=hash_of(secret),
        scopes=sorted(scope.value for scope in scopes),
        created_at=now,
        expires_at=expires_at,
        parent_id=actor.token_id,
    )
    db.add(row)
    db.flush()
    after = {
        "name": name,
        "scopes": row.scopes,
        "expires_at": expires_at.isoformat() if expires_at else None,
        "of": person.name,
    }
    audit.record(db, actor, "api_token.create", f"token {row.id}", now=now, after=after)
    return NewApiToken(row.id, secret, expires_at)


def list_tokens(db: Session, actor: Actor, *, everybody: bool = False) -> list[ApiToken]:
    """The actor's tokens by number, revoked and expired ones too; everybody's takes Permission.MANAGE."""
    query = select(ApiToken).order_by(ApiToken.id)
    if everybody:
        actor.require(Permission.MANAGE)
    else:
        query = query.where(ApiToken.administrator_id == administrators.of_actor(db, actor).id)
    return list(db.scalars(query))


def revoke(db: Session, actor: Actor, token_id: int, *, now: datetime) -> None:
    """The token, and those that it made, hold no more; those of others take Permission.MANAGE.

    Raises:
        NotFound: there is none of this number that the actor may revoke.
    """
    row = db.get(ApiToken, token_id)
    foreign = row is not None and row.administrator_id != actor.administrator_id
    if row is None or (foreign and Permission.MANAGE not in actor.permissions):
        raise NotFound(f"there is no API token {token_id} of yours", hint="`backstay tokens list` lists them")
    rows = [row]
    while rows:
        one = rows.pop()
        rows += db.scalars(select(ApiToken).where(ApiToken.parent_id == one.id))
        if one.revoked_at is None:
            one.revoked_at = now
            before = {"name": one.name, "of": one.administrator.name}
            audit.record(db, actor, "api_token.revoke", f"token {one.id}", now=now, before=before)
