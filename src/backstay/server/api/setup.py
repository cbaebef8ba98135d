"""The first set-up: while there is no administrator, the code from the server's log makes one."""

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field

from backstay.server import administrators
from backstay.server.api.administrators import CreatedAdministrator
from backstay.server.api.dependencies import PUBLIC, ControlDep
from backstay.server.sign_in import client_address, require_own_origin

router = APIRouter(tags=["set-up"], dependencies=[PUBLIC])


class SetupState(BaseModel):
    """Whether the server waits for its first administrator."""

    needed: bool


class FirstAdministrator(BaseModel):
    """The first administrator."""

    model_config = ConfigDict(extra="forbid")
    code: str = Field(max_length=100, description="as the server's log shows it when it starts")
    name: str = Field(default="admin", min_length=1, max_length=64)
    password: str | None = Field(default=None, max_length=1000, description="null: one is generated")


@router.get("/setup")
def setup_state(control: ControlDep) -> SetupState:
    """Whether the first set-up is still to be done."""
    with control.database.read() as db:
        return SetupState(needed=not administrators.is_set_up(db))


@router.post("/setup", status_code=201)
def set_up(request: Request, control: ControlDep, wanted: FirstAdministrator) -> CreatedAdministrator:
    """Make the first administrator."""
    require_own_origin(request)
    made = administrators.set_up(
        control,
        code=wanted.code,
        name=wanted.name,
        password=wanted.password,
        address=client_address(request),
    )
    return CreatedAdministrator(id=made.id, name=made.name, password=made.password or None)
