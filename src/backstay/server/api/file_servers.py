"""File servers: list, look, enrol, revoke."""

from datetime import datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from backstay.server import fleet
from backstay.server.api.dependencies import ControlDep, Manager, Number, Viewer
from backstay.server.tables import FileServer
from backstay.server.tls import fingerprint_of

router = APIRouter(tags=["file servers"])


class FileServerView(BaseModel):
    """A file server and its agent."""

    model_config = ConfigDict(from_attributes=True)
    id: int
    name: str
    system: str
    version: str
    address: str
    connected: bool
    enrolled: bool
    clock_offset: float = Field(description="seconds that its clock is ahead of the server's")
    last_seen_at: datetime | None
    enrolled_at: datetime | None


class FileServerList(BaseModel):
    """A page of file servers."""

    total: int
    items: list[FileServerView]
    next: str | None = Field(description="give it as `after` to see the next page")


class NewEnrolmentToken(BaseModel):
    """What the token may do."""

    model_config = ConfigDict(extra="forbid")
    valid_seconds: int = Field(default=86400, ge=60, le=366 * 86400)
    most_uses: int | None = Field(default=None, ge=1, le=100_000)
    comment: str = Field(default="", max_length=1000)


class EnrolmentTokenView(BaseModel):
    """A token, shown this once."""

    id: int
    token: str
    expires_at: datetime
    command: str = Field(description="to be run on each file server")


class ListedEnrolmentToken(BaseModel):
    """A token, without what makes it one."""

    model_config = ConfigDict(from_attributes=True)
    id: int
    comment: str
    created_at: datetime
    created_by: str
    expires_at: datetime
    most_uses: int | None
    uses: int
    revoked_at: datetime | None


def view_of(server: FileServer, now: datetime) -> FileServerView:
    """A file server as the API shows it."""
    return FileServerView(
        id=server.id,
        name=server.name,
        system=server.system,
        version=server.version,
        address=server.address,
        connected=fleet.is_connected(server, now),
        enrolled=server.agent_key_hash is not None,
        clock_offset=server.clock_offset,
        last_seen_at=server.last_seen_at,
        enrolled_at=server.enrolled_at,
    )


@router.get("/file-servers")
def list_file_servers(
    control: ControlDep,
    actor: Viewer,
    search: Annotated[str, Query(max_length=255)] = "",
    after: Annotated[str, Query(max_length=255)] = "",
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> FileServerList:
    """File servers by name."""
    now = control.clock()
    with control.database.read() as db:
        rows, total = fleet.list_file_servers(db, search=search, limit=limit, after=after)
        items = [view_of(row, now) for row in rows]
    return FileServerList(total=total, items=items, next=rows[-1].name if len(rows) == limit else None)


@router.get("/file-servers/{file_server_id}")
def get_file_server(control: ControlDep, actor: Viewer, file_server_id: Number) -> FileServerView:
    """One file server."""
    with control.database.read() as db:
        return view_of(fleet.get_file_server(db, file_server_id), control.clock())


@router.post("/file-servers/{file_server_id}/revoke")
def revoke_agent(control: ControlDep, actor: Manager, file_server_id: Number) -> FileServerView:
    """Let the agent's credential hold no more. Its backups stay."""
    now = control.clock()
    with control.database.begin() as db:
        return view_of(fleet.revoke_agent(db, actor, file_server_id, now=now), now)


@router.post("/enrolment-tokens", status_code=201)
def create_enrolment_token(
    control: ControlDep, actor: Manager, wanted: NewEnrolmentToken
) -> EnrolmentTokenView:
    """Make a token with which agents enrol."""
    settings = control.settings
    with control.database.begin() as db:
        made = fleet.create_enrolment_token(
            db,
            actor,
            now=control.clock(),
            fingerprint=fingerprint_of(settings),
            valid_for=timedelta(seconds=wanted.valid_seconds),
            most_uses=wanted.most_uses,
            comment=wanted.comment,
        )
    command = f"backstay agent enrol {settings.public_url} {made.token}"
    return EnrolmentTokenView(id=made.id, token=made.token, expires_at=made.expires_at, command=command)


@router.get("/enrolment-tokens")
def list_enrolment_tokens(
    control: ControlDep,
    actor: Manager,
    spent: Annotated[bool, Query(description="those too that let nobody in any more")] = False,
) -> list[ListedEnrolmentToken]:
    """Enrolment tokens that still let agents in, the newest first."""
    with control.database.read() as db:
        rows = fleet.list_enrolment_tokens(db, control.clock(), spent=spent)
    return [ListedEnrolmentToken.model_validate(row) for row in rows]


@router.delete("/enrolment-tokens/{token_id}", status_code=204)
def revoke_enrolment_token(control: ControlDep, actor: Manager, token_id: Number) -> None:
    """Let nobody enrol with the token any more. Agents that have, stay."""
    with control.database.begin() as db:
        fleet.revoke_enrolment_token(db, actor, token_id, now=control.clock())
