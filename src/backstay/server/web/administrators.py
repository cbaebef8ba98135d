"""Administrators, and the API tokens with which programs act for them."""

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.responses import Response

from backstay.domain.errors import BackstayError, UsageError
from backstay.server import administrators, api_tokens, sign_in_limits
from backstay.server.access import PERMISSIONS, Permission, Role
from backstay.server.problems import status_of
from backstay.server.tables import ApiToken
from backstay.server.web.visit import PageRoute, SentForm, Visit, changing, seeing, text_of, texts_of

router = APIRouter(route_class=PageRoute, include_in_schema=False)

ROLES = (
    (Role.ADMINISTRATOR, "Administrator", "everything"),
    (Role.OPERATOR, "Operator", "runs and changes backups, restores; manages nobody"),
    (Role.RESTORE_ONLY, "Restore only", "finds and restores files"),
    (Role.AUDITOR, "Auditor", "sees states and the audit log, no file names"),
)
_LIFETIMES = {"30": "30 days", "90": "90 days", "365": "1 year", "": "until it is revoked"}


@router.get("/administrators")
def list_them(visit: Annotated[Visit, Depends(seeing(Permission.MANAGE))]) -> Response:
    """Everybody who can sign in."""
    return _page(visit)


def _page(
    visit: Visit,
    *,
    error: BackstayError | None = None,
    made: administrators.NewAdministrator | None = None,
    open_form: bool = False,
) -> Response:
    with visit.control.database.read() as db:
        people = administrators.list_administrators(db)
        locked = sign_in_limits.locked_until(db, [one.name for one in people], visit.now)
    return visit.page(
        "administrators.html",
        here="administrators",
        status=status_of(error) if error else 200,
        people=people,
        locked=locked,
        roles=ROLES,
        error=error,
        made=made,
        open_form=open_form,
    )


@router.post("/administrators")
def create(visit: Annotated[Visit, Depends(changing(Permission.MANAGE))], form: SentForm) -> Response:
    """Let somebody in; the password that is made for them is shown once."""
    try:
        with visit.control.database.begin() as db:
            made = administrators.create_administrator(
                db,
                visit.actor,
                now=visit.now,
                name=text_of(form, "name"),
                display_name=text_of(form, "display_name"),
                role=_role(text_of(form, "role")),
            )
    except BackstayError as error:
        return _page(visit, error=error, open_form=True)
    return _page(visit, made=made)


@router.post("/administrators/{person_id}/role")
def change_role(
    visit: Annotated[Visit, Depends(changing(Permission.MANAGE))], form: SentForm, person_id: int
) -> Response:
    """Give another role."""
    with visit.control.database.begin() as db:
        person = administrators.change_administrator(
            db, visit.actor, person_id, now=visit.now, role=_role(text_of(form, "role"))
        )
    return visit.go("/administrators", f"{person.name} has another role")


@router.post("/administrators/{person_id}/disabled")
def disable(
    visit: Annotated[Visit, Depends(changing(Permission.MANAGE))], form: SentForm, person_id: int
) -> Response:
    """Shut somebody out, or let them in again."""
    off = text_of(form, "disabled") == "true"
    with visit.control.database.begin() as db:
        person = administrators.get_administrator(db, person_id)
        if off and text_of(form, "confirmation") != person.name:
            raise UsageError("the name that was typed is another one", hint="type it exactly as it is shown")
        administrators.change_administrator(db, visit.actor, person_id, now=visit.now, disabled=off)
    return visit.go("/administrators", f"{person.name} is {'shut out' if off else 'let in again'}")


@router.post("/administrators/{person_id}/password")
def reset_password(visit: Annotated[Visit, Depends(changing(Permission.MANAGE))], person_id: int) -> Response:
    """Make a new password, shown once."""
    with visit.control.database.begin() as db:
        made = administrators.reset_password(db, visit.actor, person_id, now=visit.now)
    return _page(visit, made=made)


@router.post("/administrators/{person_id}/unlock")
def unlock(visit: Annotated[Visit, Depends(changing(Permission.MANAGE))], person_id: int) -> Response:
    """Forget that somebody typed wrong passwords."""
    with visit.control.database.begin() as db:
        person = administrators.unlock(db, visit.actor, person_id, now=visit.now)
    return visit.go("/administrators", f"{person.name} may try again")


def _role(text: str) -> Role:
    try:
        return Role(text)
    except ValueError:
        raise UsageError("there is no such role", hint="choose one of the list") from None


@router.get("/account/tokens")
def list_tokens(visit: Annotated[Visit, Depends(seeing(Permission.VIEW))]) -> Response:
    """One's own API tokens; everybody's, for those who manage them."""
    return _tokens(visit)


def _tokens(
    visit: Visit, *, error: BackstayError | None = None, made: api_tokens.NewApiToken | None = None
) -> Response:
    everybody = visit.may(Permission.MANAGE)
    with visit.control.database.read() as db:
        rows = api_tokens.list_tokens(db, visit.actor, everybody=everybody)
        tokens = [(row, row.administrator.name, _state(visit, row)) for row in rows]
    return visit.page(
        "tokens.html",
        here="account",
        status=status_of(error) if error else 200,
        tokens=sorted(tokens, key=lambda one: (one[2] != "enabled", -one[0].id)),
        everybody=everybody,
        scopes=[one for one in Permission if one in visit.actor.permissions],
        all_roles=PERMISSIONS,
        lifetimes=_LIFETIMES,
        error=error,
        made=made,
    )


def _state(visit: Visit, row: ApiToken) -> str:
    if row.revoked_at is not None:
        return "revoked"
    return "expired" if row.expires_at is not None and row.expires_at <= visit.now else "enabled"


@router.post("/account/tokens")
def create_token(visit: Annotated[Visit, Depends(changing(Permission.VIEW))], form: SentForm) -> Response:
    """Make a token, shown once."""
    days = text_of(form, "days", "90")
    try:
        if days not in _LIFETIMES:
            raise UsageError("that is no lifetime of a token", hint="choose one of the list")
        known = {one.value for one in Permission}
        with visit.control.database.begin() as db:
            made = api_tokens.create(
                db,
                visit.actor,
                now=visit.now,
                name=text_of(form, "name"),
                scopes=[Permission(one) for one in texts_of(form, "scope") if one in known],
                valid_for=timedelta(days=int(days)) if days else None,
            )
    except BackstayError as error:
        return _tokens(visit, error=error)
    return _tokens(visit, made=made)


@router.post("/account/tokens/{token_id}/revoke")
def revoke_token(visit: Annotated[Visit, Depends(changing(Permission.VIEW))], token_id: int) -> Response:
    """Let it hold no more."""
    with visit.control.database.begin() as db:
        api_tokens.revoke(db, visit.actor, token_id, now=visit.now)
    return visit.go("/account/tokens", "The token holds no more")
