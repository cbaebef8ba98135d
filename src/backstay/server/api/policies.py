"""Policies: list, look, make, change, remove; and what a file server lays over them."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, Field

from backstay.protocol.policy_document import PolicyValues
from backstay.server import named_policies
from backstay.server.api.dependencies import ControlDep, Editor, Viewer
from backstay.server.api.fields import Body, Comment, Cursor, Limit, Name, Number, Search
from backstay.server.fleet import get_file_server
from backstay.server.named_policies import PolicyChange
from backstay.server.tables import BackupSetRow, PolicyRow

router = APIRouter(tags=["policies"])


class PolicyView(BaseModel):
    """A policy: the values that it sets; absent ones are left to the built-in policy."""

    id: int
    name: str
    comment: str
    values: PolicyValues
    used_by: int = Field(description="how many backup sets use it")
    created_at: datetime
    updated_at: datetime


class Use(BaseModel):
    """A backup set that uses something."""

    id: int
    name: str
    file_server: str


class PolicyDetail(PolicyView):
    """A policy, and where it is used."""

    uses: list[Use] = Field(description="the first 100; GET /backup-sets?policy_id= has all")


class PolicyList(BaseModel):
    """A page of policies."""

    total: int
    items: list[PolicyView]
    next: str | None = Field(description="give it as `after` to see the next page")


class NewPolicy(Body):
    """A policy to be made."""

    name: Name
    comment: Comment = ""
    values: PolicyValues = PolicyValues()


class ChangedPolicy(Body):
    """What is to be changed; `values` replace all values it had."""

    name: Name | None = None
    comment: Comment | None = None
    values: PolicyValues | None = None


class LayerView(BaseModel):
    """The values that a file server sets for all its backup sets."""

    values: PolicyValues


def use_of(row: BackupSetRow) -> Use:
    """A set as something that is used shows it."""
    return Use(id=row.id, name=row.name, file_server=row.file_server.name)


def _view(row: PolicyRow, used_by: int) -> PolicyView:
    return PolicyView(
        id=row.id,
        name=row.name,
        comment=row.comment,
        values=PolicyValues.model_validate(row.values),
        used_by=used_by,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


@router.get("/policies")
def list_policies(
    control: ControlDep, actor: Viewer, search: Search = "", after: Cursor = "", limit: Limit = 100
) -> PolicyList:
    """Policies by name."""
    with control.database.read() as db:
        rows, total = named_policies.list_policies(db, search=search, after=after, limit=limit)
        items = [_view(row, used) for row, used in rows]
    return PolicyList(total=total, items=items, next=items[-1].name if len(items) == limit else None)


@router.post("/policies", status_code=201)
def create_policy(control: ControlDep, actor: Editor, wanted: NewPolicy) -> PolicyView:
    """Make a policy."""
    with control.database.begin() as db:
        row = named_policies.create_policy(
            db,
            actor,
            name=wanted.name,
            values=wanted.values,
            comment=wanted.comment,
            now=control.clock(),
        )
        return _view(row, 0)


@router.get("/policies/{policy_id}")
def get_policy(control: ControlDep, actor: Viewer, policy_id: Number) -> PolicyDetail:
    """One policy, and the sets that use it."""
    with control.database.read() as db:
        row = named_policies.get_policy(db, policy_id)
        uses = [use_of(one) for one in named_policies.sets_using(db, row)]
        view = _view(row, named_policies.count_using(db, row))
    return PolicyDetail(**view.model_dump(), uses=uses)


@router.patch("/policies/{policy_id}")
def change_policy(control: ControlDep, actor: Editor, policy_id: Number, wanted: ChangedPolicy) -> PolicyView:
    """Change a policy, for all sets that use it."""
    change = PolicyChange(name=wanted.name, comment=wanted.comment, values=wanted.values)
    with control.database.begin() as db:
        row = named_policies.change_policy(db, actor, policy_id, change, now=control.clock())
        view = _view(row, named_policies.count_using(db, row))
    control.wakeups.wake()
    return view


@router.delete("/policies/{policy_id}", status_code=204)
def remove_policy(control: ControlDep, actor: Editor, policy_id: Number) -> None:
    """Remove a policy that no set uses."""
    with control.database.begin() as db:
        named_policies.remove_policy(db, actor, policy_id, now=control.clock())


@router.get("/file-servers/{file_server_id}/policy")
def get_layer(control: ControlDep, actor: Viewer, file_server_id: Number) -> LayerView:
    """What a file server sets for all its backup sets."""
    with control.database.read() as db:
        server = get_file_server(db, file_server_id)
        return LayerView(values=PolicyValues.model_validate(server.policy_layer or {}))


@router.put("/file-servers/{file_server_id}/policy")
def set_layer(
    control: ControlDep,
    actor: Editor,
    file_server_id: Number,
    values: Annotated[PolicyValues, Field(description="replace all values it had")],
) -> LayerView:
    """Set what holds for all backup sets of a file server, unless a set says otherwise itself."""
    with control.database.begin() as db:
        server = named_policies.change_layer_of_file_server(
            db, actor, file_server_id, values, now=control.clock()
        )
        view = LayerView(values=PolicyValues.model_validate(server.policy_layer))
    control.wakeups.wake()
    return view
