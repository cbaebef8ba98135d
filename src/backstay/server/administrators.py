"""The administrators: who may sign in, in which role, and how the first of them comes to be."""

import base64
import hmac
import re
import unicodedata
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from backstay.domain.errors import Conflict, Forbidden, NotFound, UsageError
from backstay.server import audit, passwords, sign_in_limits
from backstay.server.access import PERMISSIONS, Actor, Role
from backstay.server.control import Control
from backstay.server.database import Lock, hold
from backstay.server.tables import Administrator, Setting, SignInSession

_NAME = re.compile(r"[\w][\w.@+-]{0,63}", re.UNICODE)
_SETUP_CODE = "set-up code"


@dataclass(frozen=True)
class NewAdministrator:
    """An administrator that was made, or whose password was set.

    Attributes:
        password: where it was generated: it is shown this once; else empty.
    """

    id: int
    name: str
    password: str


def normal_name(name: str) -> str:
    """The name as it is kept and compared: capitals do not matter."""
    return unicodedata.normalize("NFKC", name).strip().casefold()


def is_set_up(db: Session) -> bool:
    """Whether there is an administrator. There is one for ever after the first: none can be deleted."""
    return db.scalar(select(Administrator.id).limit(1)) is not None


def create_first_administrator(
    db: Session, *, now: datetime, name: str = "admin", password: str | None = None, address: str = ""
) -> NewAdministrator:
    """Make the first administrator; of several servers that try at once, one succeeds.

    Args:
        password: None: one is generated.

    Raises:
        Conflict: there is one already.
        UsageError: name or password will not do.
    """
    hold(db, Lock.ADMINISTRATORS)
    if is_set_up(db):
        raise Conflict("this server has an administrator already", hint="sign in as one, and make more")
    who = Actor("the first set-up", frozenset(), address)
    made = _create(db, who, now, name, "", Role.ADMINISTRATOR, password, must_change=False)
    db.execute(delete(Setting).where(Setting.name == _SETUP_CODE))
    return made


def setup_code(control: Control) -> str | None:
    """What has to be shown to make the first administrator over the network; None once there is one.

    Whoever reaches a new server first must not be able to take it: the code stands in the server's log, and
    is the same on all servers of one database.

    Raises:
        ServerError: it was made with another server's key.
    """
    with control.database.read() as db:
        if is_set_up(db):
            return None
    with control.database.begin() as db:
        hold(db, Lock.ADMINISTRATORS)
        row = db.get(Setting, _SETUP_CODE)
        if row is None:
            sealed = control.key.seal(passwords.generate().encode(), _SETUP_CODE)
            row = Setting(
                name=_SETUP_CODE, value=base64.b64encode(sealed).decode(), updated_at=control.clock()
            )
            db.add(row)
        return control.key.open(base64.b64decode(row.value), _SETUP_CODE).decode()


def set_up(control: Control, *, code: str, name: str, password: str | None, address: str) -> NewAdministrator:
    """`create_first_administrator` for somebody who comes over the network.

    Raises:
        Forbidden: the code is wrong.
        Conflict, UsageError.
    """
    right = setup_code(control)
    now = control.clock()
    if right is None:
        raise Conflict("this server has an administrator already", hint="sign in as one, and make more")
    # 100 bits: nobody guesses it, and a limit would let a stranger keep the owner out.
    if not hmac.compare_digest(code.strip().encode("utf-8", "replace"), right.encode()):
        raise Forbidden(
            "the set-up code is wrong", hint="the server's log, and its terminal, show it when it starts"
        )
    with control.database.begin() as db:
        return create_first_administrator(db, now=now, name=name, password=password, address=address)


def list_administrators(db: Session) -> list[Administrator]:
    """All of them by name, disabled ones too."""
    return list(db.scalars(select(Administrator).order_by(Administrator.name)))


def get_administrator(db: Session, administrator_id: int) -> Administrator:
    """The administrator of this number. Raises NotFound."""
    person = db.get(Administrator, administrator_id)
    if person is None:
        raise NotFound(f"there is no administrator {administrator_id}", hint="list them to see their numbers")
    return person


def of_actor(db: Session, actor: Actor) -> Administrator:
    """The administrator who is the actor. Raises Forbidden where it is the server itself."""
    if actor.administrator_id is None:
        raise Forbidden(f"{actor.name} is no administrator", hint="sign in as one")
    return get_administrator(db, actor.administrator_id)


def find_administrator(db: Session, name: str) -> Administrator | None:
    """The administrator of this name, in its normal form, or None."""
    if not _NAME.fullmatch(name):
        return None
    return db.scalars(select(Administrator).where(Administrator.name == name)).first()


def create_administrator(
    db: Session,
    actor: Actor,
    *,
    now: datetime,
    name: str,
    role: Role,
    display_name: str = "",
    password: str | None = None,
) -> NewAdministrator:
    """Make an administrator, who has to choose a password of their own at the first sign-in.

    Args:
        password: for the first sign-in; None: one is generated.

    Raises:
        Forbidden: the role may do more than the actor.
        Conflict: the name is taken. UsageError: name or password will not do.
    """
    _require_all(actor, role)
    return _create(db, actor, now, name, display_name, role, password, must_change=True)


def _create(
    db: Session,
    actor: Actor,
    now: datetime,
    name: str,
    display_name: str,
    role: Role,
    password: str | None,
    *,
    must_change: bool,
) -> NewAdministrator:
    name = normal_name(name)
    if not _NAME.fullmatch(name):
        raise UsageError(
            "that cannot be the name of an administrator",
            hint="use up to 64 letters, digits and . _ - @ +, beginning with a letter or digit",
        )
    _check_display_name(display_name)
    hold(db, Lock.ADMINISTRATORS)
    if db.scalar(select(Administrator.id).where(Administrator.name == name)) is not None:
        raise Conflict(
            f"there is an administrator {name} already",
            hint="choose another name; a disabled one can be enabled again",
        )
    chosen = password if password is not None else passwords.generate()
    passwords.check_rules(chosen, name)
    person = Administrator(
        name=name,
        display_name=display_name,
        role=role.value,
        password_hash=passwords.hashed(chosen),
        must_change_password=must_change,
        created_at=now,
    )
    db.add(person)
    db.flush()
    after = {"role": role.value, "display_name": display_name}
    audit.record(db, actor, "administrator.create", name, now=now, after=after)
    return NewAdministrator(person.id, name, chosen if password is None else "")


def change_administrator(
    db: Session,
    actor: Actor,
    administrator_id: int,
    *,
    now: datetime,
    role: Role | None = None,
    display_name: str | None = None,
    disabled: bool | None = None,
) -> Administrator:
    """Change what is not None. Who is disabled is signed out, and their API tokens do not hold.

    Raises:
        NotFound, UsageError.
        Forbidden: the old or the new role may do more than the actor.
        Conflict: nobody would be left who can manage administrators.
    """
    hold(db, Lock.ADMINISTRATORS)
    person = get_administrator(db, administrator_id)
    before: dict[str, object] = {}
    after: dict[str, object] = {}
    if role is not None and role.value != person.role:
        _require_all(actor, role)
        _require_all(actor, Role(person.role))
        before["role"], after["role"] = person.role, role.value
    if disabled is not None and disabled != (person.disabled_at is not None):
        _require_all(actor, Role(person.role))
        before["disabled"], after["disabled"] = person.disabled_at is not None, disabled
    if display_name is not None and display_name != person.display_name:
        _check_display_name(display_name)
        before["display_name"], after["display_name"] = person.display_name, display_name
        person.display_name = display_name
    if "role" in after or after.get("disabled"):
        _spare_the_last(db, person)
    if role is not None:
        person.role = role.value
    if "disabled" in after:
        person.disabled_at = now if disabled else None
        end_sessions(db, person.id)
    if after:
        audit.record(db, actor, "administrator.change", person.name, now=now, before=before, after=after)
    return person


def reset_password(
    db: Session, actor: Actor, administrator_id: int, *, now: datetime, password: str | None = None
) -> NewAdministrator:
    """Give an administrator another password, to be changed at the next sign-in; their sessions end.

    Raises:
        NotFound, UsageError.
        Forbidden: the administrator may do more than the actor.
    """
    person = get_administrator(db, administrator_id)
    _require_all(actor, Role(person.role))
    chosen = password if password is not None else passwords.generate()
    set_password(db, person, chosen)
    person.must_change_password = True
    end_sessions(db, person.id)
    sign_in_limits.unlock(db, person.name)
    audit.record(db, actor, "administrator.reset_password", person.name, now=now)
    return NewAdministrator(person.id, person.name, chosen if password is None else "")


def set_password(db: Session, person: Administrator, password: str) -> None:
    """Keep the hash of another password. Raises UsageError where it will not do."""
    passwords.check_rules(password, person.name)
    person.password_hash = passwords.hashed(password)
    person.must_change_password = False


def unlock(db: Session, actor: Actor, administrator_id: int, *, now: datetime) -> Administrator:
    """Forget the failures to sign in under this name. Raises NotFound."""
    person = get_administrator(db, administrator_id)
    sign_in_limits.unlock(db, person.name)
    audit.record(db, actor, "administrator.unlock", person.name, now=now)
    return person


def end_sessions(db: Session, administrator_id: int, *, but: str = "") -> None:
    """Sign the administrator out everywhere, but for the session whose secret has this hash."""
    db.execute(
        delete(SignInSession).where(
            SignInSession.administrator_id == administrator_id, SignInSession.secret_hash != but
        )
    )


def _spare_the_last(db: Session, person: Administrator) -> None:
    others = db.scalar(
        select(func.count())
        .select_from(Administrator)
        .where(
            Administrator.role == Role.ADMINISTRATOR.value,
            Administrator.disabled_at.is_(None),
            Administrator.id != person.id,
        )
    )
    if not others and person.role == Role.ADMINISTRATOR.value and person.disabled_at is None:
        raise Conflict(
            f"{person.name} is the last administrator: nobody could manage the server any more",
            hint="give somebody else the role of an administrator first",
        )


def _require_all(actor: Actor, role: Role) -> None:
    """Nobody gives, or takes over, more power than they have."""
    missing = PERMISSIONS[role] - actor.permissions
    if missing:
        raise Forbidden(
            f"{actor.name} may not do this to the role {role.value}, which may do more",
            hint=f"it takes the permissions {', '.join(sorted(missing))} as well",
        )


def _check_display_name(text: str) -> None:
    if len(text) > 255 or (text and not text.isprintable()):
        raise UsageError("that cannot be a displayed name", hint="use up to 255 printable characters")
