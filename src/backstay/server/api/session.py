"""Who is signed in."""

from fastapi import APIRouter
from pydantic import BaseModel, Field

from backstay.server.access import Permission
from backstay.server.api.dependencies import Anybody

router = APIRouter(tags=["session"])


class SessionView(BaseModel):
    """Whoever asks, and what they may do."""

    name: str
    permissions: list[Permission] = Field(description="what the role permits, and the token's scopes leave")


@router.get("/session")
def who_am_i(actor: Anybody) -> SessionView:
    """Who the server takes you for."""
    return SessionView(name=actor.name, permissions=sorted(actor.permissions))
