"""API tokens: list, make, revoke."""

from datetime import datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from backstay.server import api_tokens
from backstay.server.access import Permission
from backstay.server.api.dependencies import Anybody, ControlDep, Number
from backstay.server.tables import ApiToken

router = APIRouter(tags=["tokens"])


class TokenView(BaseModel):
    """A token, without what makes it one."""

    id: int
    name: str
    administrator: str
    scopes: list[Permission]
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    last_used_address: str
    revoked_at: datetime | None
    parent_id: int | None = Field(description="the token that made it: it is revoked with it")


class NewToken(BaseModel):
    """A token to be made."""

    model_config = ConfigDict(extra="forbid")
    name: str = Field(min_length=1, max_length=64)
    scopes: list[Permission] = Field(min_length=1, max_length=len(Permission))
    valid_seconds: int | None = Field(
        default=None, ge=60, le=2 * 366 * 86400, description="null: until it is revoked"
    )


class CreatedToken(BaseModel):
    """A token, shown this once."""

    id: int
    token: str
    expires_at: datetime | None


@router.get("/tokens")
def list_tokens(
    control: ControlDep,
    actor: Anybody,
    everybody: Annotated[bool, Query(description="those of others too; needs the permission manage")] = False,
) -> list[TokenView]:
    """One's own tokens, revoked and expired ones too."""
    with control.database.read() as db:
        return [_view(row) for row in api_tokens.list_tokens(db, actor, everybody=everybody)]


@router.post("/tokens", status_code=201)
def create_token(control: ControlDep, actor: Anybody, wanted: NewToken) -> CreatedToken:
    """Make a token for oneself, with scopes that one has."""
    valid_for = timedelta(seconds=wanted.valid_seconds) if wanted.valid_seconds is not None else None
    with control.database.begin() as db:
        made = api_tokens.create(
            db,
            actor,
            now=control.clock(),
            name=wanted.name,
            scopes=set(wanted.scopes),
            valid_for=valid_for,
        )
    return CreatedToken(id=made.id, token=made.token, expires_at=made.expires_at)


@router.delete("/tokens/{token_id}", status_code=204)
def revoke_token(control: ControlDep, actor: Anybody, token_id: Number) -> None:
    """Revoke a token and those that it made; those of others need the permission manage."""
    with control.database.begin() as db:
        api_tokens.revoke(db, actor, token_id, now=control.clock())


def _view(row: ApiToken) -> TokenView:
    return TokenView(
        id=row.id,
        name=row.name,
        administrator=row.administrator.name,
        scopes=[Permission(scope) for scope in row.scopes],
        created_at=row.created_at,
        expires_at=row.expires_at,
        last_used_at=row.last_used_at,
        last_used_address=row.last_used_address,
        revoked_at=row.revoked_at,
        parent_id=row.parent_id,
    )
