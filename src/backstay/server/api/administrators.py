"""Administrators: list, make, change, disable."""

from datetime import datetime

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.orm import Session

from backstay.server import administrators, browser_sessions, sign_in_limits
from backstay.server.access import Role
from backstay.server.api.dependencies import ControlDep, Manager, Number
from backstay.server.tables import Administrator

router = APIRouter(tags=["administrators"])


class AdministratorView(BaseModel):
    """Somebody who can sign in."""

    id: int
    name: str
    display_name: str
    role: Role
    disabled: bool
    must_change_password: bool
    created_at: datetime
    last_sign_in_at: datetime | None
    locked_until: datetime | None = Field(description="after too many attempts to sign in")


class NewAdministrator(BaseModel):
    """An administrator to be made."""

    model_config = ConfigDict(extra="forbid")
    name: str = Field(min_length=1, max_length=64)
    role: Role
    display_name: str = Field(default="", max_length=255)
    password: str | None = Field(
        default=None, max_length=1000, description="for the first sign-in; null: one is generated"
    )


class CreatedAdministrator(BaseModel):
    """An administrator, and the password that was generated, shown this once."""

    id: int
    name: str
    password: str | None = Field(description="null where it was given")


class AdministratorChange(BaseModel):
    """What is to be changed; null leaves it as it is."""

    model_config = ConfigDict(extra="forbid")
    role: Role | None = None
    display_name: str | None = Field(default=None, max_length=255)
    disabled: bool | None = None


class NewPassword(BaseModel):
    """A password for the next sign-in."""

    model_config = ConfigDict(extra="forbid")
    password: str | None = Field(default=None, max_length=1000, description="null: one is generated")


def _views(db: Session, people: list[Administrator], now: datetime) -> list[AdministratorView]:
    locked = sign_in_limits.locked_until(db, [person.name for person in people], now)
    return [
        AdministratorView(
            id=person.id,
            name=person.name,
            display_name=person.display_name,
            role=Role(person.role),
            disabled=person.disabled_at is not None,
            must_change_password=person.must_change_password,
            created_at=person.created_at,
            last_sign_in_at=person.last_sign_in_at,
            locked_until=locked.get(person.name),
        )
        for person in people
    ]


@router.get("/administrators")
def list_administrators(control: ControlDep, actor: Manager) -> list[AdministratorView]:
    """All administrators by name, disabled ones too."""
    with control.database.read() as db:
        return _views(db, administrators.list_administrators(db), control.clock())


@router.post("/administrators", status_code=201)
def create_administrator(
    control: ControlDep, actor: Manager, wanted: NewAdministrator
) -> CreatedAdministrator:
    """Make an administrator, who chooses a password of their own at the first sign-in."""
    with control.database.begin() as db:
        made = administrators.create_administrator(
            db,
            actor,
            now=control.clock(),
            name=wanted.name,
            role=wanted.role,
            display_name=wanted.display_name,
            password=wanted.password,
        )
    return CreatedAdministrator(id=made.id, name=made.name, password=made.password or None)


@router.get("/administrators/{administrator_id}")
def get_administrator(control: ControlDep, actor: Manager, administrator_id: Number) -> AdministratorView:
    """One administrator."""
    with control.database.read() as db:
        person = administrators.get_administrator(db, administrator_id)
        return _views(db, [person], control.clock())[0]


@router.patch("/administrators/{administrator_id}")
def change_administrator(
    control: ControlDep, actor: Manager, administrator_id: Number, wanted: AdministratorChange
) -> AdministratorView:
    """Change role or displayed name, disable or enable. The last administrator stays one."""
    now = control.clock()
    with control.database.begin() as db:
        person = administrators.change_administrator(
            db,
            actor,
            administrator_id,
            now=now,
            role=wanted.role,
            display_name=wanted.display_name,
            disabled=wanted.disabled,
        )
        return _views(db, [person], now)[0]


@router.post("/administrators/{administrator_id}/password")
def reset_password(
    control: ControlDep, actor: Manager, administrator_id: Number, wanted: NewPassword
) -> CreatedAdministrator:
    """Give another password, which has to be changed at the next sign-in; all sessions end."""
    with control.database.begin() as db:
        made = administrators.reset_password(
            db, actor, administrator_id, now=control.clock(), password=wanted.password
        )
    return CreatedAdministrator(id=made.id, name=made.name, password=made.password or None)


@router.post("/administrators/{administrator_id}/unlock")
def unlock(control: ControlDep, actor: Manager, administrator_id: Number) -> AdministratorView:
    """Let the name sign in again after too many failures."""
    now = control.clock()
    with control.database.begin() as db:
        person = administrators.unlock(db, actor, administrator_id, now=now)
        return _views(db, [person], now)[0]


@router.delete("/administrators/{administrator_id}/sessions", status_code=204)
def end_sessions(control: ControlDep, actor: Manager, administrator_id: Number) -> None:
    """Sign the administrator out everywhere."""
    with control.database.begin() as db:
        browser_sessions.sign_out_everywhere(db, actor, administrator_id, now=control.clock())
