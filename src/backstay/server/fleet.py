"""The file servers: enrolment, their agents' credentials, and which of them are connected."""

import base64
import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, bindparam, func, or_, select
from sqlalchemy.orm import Session

from backstay.domain.errors import Conflict, Forbidden, NotFound, NotSignedIn, UsageError
from backstay.server import audit
from backstay.server.access import Actor
from backstay.server.sign_in import hash_of
from backstay.server.tables import BackupSetRow, EnrolmentToken, FileServer

CONNECTED_WITHIN = timedelta(seconds=75)
"""An agent asks for work at least every half minute; who was not heard of for longer is not connected."""

_TOKEN_PREFIX = "backstay-enrol-"


@dataclass(frozen=True)
class NewToken:
    """An enrolment token as it is shown, once."""

    id: int
    token: str
    expires_at: datetime


@dataclass(frozen=True)
class AgentIdentity:
    """What an agent proves who it is with: kept by the agent, only the secret's hash by the server."""

    file_server_id: int
    name: str
    secret: str


def create_enrolment_token(
    db: Session,
    actor: Actor,
    *,
    now: datetime,
    fingerprint: str,
    valid_for: timedelta = timedelta(days=1),
    most_uses: int | None = None,
    comment: str = "",
) -> NewToken:
    """Make a token with which agents enrol.

    Args:
        fingerprint: SHA-256 of the server's certificate, hexadecimal, that the agent will insist upon; empty
            where it is signed by an authority that agents know, or there is no TLS.
        most_uses: how many agents may use it; None: any number until it expires.

    Raises:
        UsageError: it would never be of use.
    """
    if valid_for <= timedelta(0) or (most_uses is not None and most_uses < 1):
        raise UsageError("the enrolment token could never be used", hint="give it some time and uses")
    if valid_for > timedelta(days=366):
        raise UsageError("the enrolment token would live longer than a year", hint="make it expire sooner")
    secret = secrets.token_urlsafe(24)
    body = json.dumps({"s": secret, "f": fingerprint}, separators=(",", ":"))
    token = _TOKEN_PREFIX + base64.urlsafe_b64encode(body.encode()).decode().rstrip("=")
    row = EnrolmentToken(
        token_hash=hash_of(secret),
        comment=comment,
        created_at=now,
        created_by=actor.name,
        expires_at=now + valid_for,
        most_uses=most_uses,
    )
    db.add(row)
    db.flush()
    after = {"expires_at": row.expires_at.isoformat(), "most_uses": most_uses, "comment": comment}
    audit.record(db, actor, "enrolment_token.create", f"token {row.id}", now=now, after=after)
    return NewToken(row.id, token, row.expires_at)


def secret_of(token: str) -> str:
    """The secret in an enrolment token. Raises UsageError."""
    body = token.strip().removeprefix(_TOKEN_PREFIX)
    try:
        return str(json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))["s"])
    except (ValueError, KeyError, TypeError):
        raise UsageError("that is not an enrolment token", hint="copy it again, whole") from None


def list_enrolment_tokens(db: Session, now: datetime, *, spent: bool = False) -> list[EnrolmentToken]:
    """The enrolment tokens that still let agents in, the newest first; `spent`: the others as well."""
    query = select(EnrolmentToken).order_by(EnrolmentToken.id.desc())
    if not spent:
        query = query.where(
            EnrolmentToken.revoked_at.is_(None),
            EnrolmentToken.expires_at > now,
            or_(EnrolmentToken.most_uses.is_(None), EnrolmentToken.uses < EnrolmentToken.most_uses),
        )
    return list(db.scalars(query))


def revoke_enrolment_token(db: Session, actor: Actor, token_id: int, *, now: datetime) -> None:
    """Nobody enrols with it any more; agents that have stay. Raises NotFound."""
    row = db.get(EnrolmentToken, token_id)
    if row is None:
        raise NotFound(f"there is no enrolment token {token_id}", hint="list them to see their numbers")
    if row.revoked_at is None:
        row.revoked_at = now
        audit.record(db, actor, "enrolment_token.revoke", f"token {token_id}", now=now)


def enrol(db: Session, secret: str, name: str, *, now: datetime, address: str = "") -> AgentIdentity:
    """Let an agent in, as the file server `name`.

    A name that is taken can be enrolled anew only after its credential was revoked: a token must not be
    enough to take a file server's place.

    Raises:
        NotSignedIn: the token does not hold.
        Conflict: a file server of that name has an agent already.
        UsageError: that cannot be a name.
    """
    token = db.scalars(
        select(EnrolmentToken).where(EnrolmentToken.token_hash == hash_of(secret)).with_for_update()
    ).first()
    if token is None or token.revoked_at is not None:
        raise NotSignedIn("the enrolment token is unknown or was revoked", hint="make a new one")
    if token.expires_at <= now:
        raise NotSignedIn(
            f"the enrolment token expired at {token.expires_at:%Y-%m-%d %H:%M} UTC", hint="make a new one"
        )
    if token.most_uses is not None and token.uses >= token.most_uses:
        raise NotSignedIn("the enrolment token has been used up", hint="make a new one")
    if not 1 <= len(name) <= 255 or not name.isprintable() or "/" in name:
        raise UsageError(
            "that cannot be the name of a file server", hint="use 1 to 255 printable characters, no /"
        )
    server = db.scalars(select(FileServer).where(FileServer.name == name)).first()
    if server is None:
        server = FileServer(name=name, created_at=now)
        db.add(server)
    elif server.agent_key_hash is not None:
        raise Conflict(
            f"a file server {name} is enrolled already",
            hint="revoke its credential first if it is to be enrolled anew, or choose another --name",
        )
    agent_secret = secrets.token_urlsafe(32)
    server.agent_key_hash = hash_of(agent_secret)
    server.agent_epoch = (server.agent_epoch or 0) + 1
    server.enrolled_at = now
    server.removed_at = None
    server.instance = server.machine_id = ""
    token.uses += 1
    db.flush()
    who = Actor(f"enrolment token {token.id}", frozenset(), address)
    audit.record(db, who, "file_server.enrol", name, now=now, after={"name": name})
    return AgentIdentity(server.id, name, agent_secret)


def identify(db: Session, file_server_id: int, secret: str, *, to_change: bool = False) -> FileServer:
    """The file server whose agent this is. Raises NotSignedIn.

    Args:
        to_change: nobody else changes it until this transaction ends.
    """
    lock = {"key_share": True} if to_change else None
    server = db.get(FileServer, file_server_id, with_for_update=lock)
    if server is None or server.agent_key_hash != hash_of(secret):
        raise _not_it()
    return server


def _not_it() -> NotSignedIn:
    return NotSignedIn(
        "this agent's credential does not hold: it was revoked, or the file server was enrolled anew",
        hint="enrol it again with `backstay agent enrol`",
    )


@dataclass(frozen=True)
class Speaker:
    """An agent process, as it describes itself."""

    instance: str
    boot_id: str
    address: str
    system: str
    version: str


_SPEAKER = select(
    FileServer.agent_key_hash,
    FileServer.instance,
    FileServer.boot_id,
    FileServer.address,
    FileServer.system,
    FileServer.version,
).where(FileServer.id == bindparam("file_server"))
"""Made once, and without what is large: it is asked for with every *lease*."""


def is_as_known(db: Session, file_server_id: int, secret: str, speaker: Speaker) -> bool:
    """Whether this very process spoke for the file server last, and is what it was. Raises NotSignedIn."""
    row = db.execute(_SPEAKER, {"file_server": file_server_id}).first()
    if row is None or row[0] != hash_of(secret):
        raise _not_it()
    return Speaker(*row[1:]) == speaker


def greet(
    server: FileServer,
    *,
    instance: str,
    machine_id: str,
    boot_id: str,
    now: datetime,
    first: bool = True,
    busy: bool = False,
) -> tuple[bool, bool]:
    """An agent process has started, and from now on speaks for the file server.

    Args:
        first: it has just been started; one that was replaced does not come back.
        busy: the process that spoke until now runs a job that was not given up.

    Returns:
        Whether it is another process than before, and whether the machine was started anew.

    Raises:
        Conflict: another machine speaks for this file server at this time.
        Forbidden: another process of this machine has taken this one's place.
    """
    if server.instance == instance:
        return False, False
    alive = busy or (server.last_seen_at is not None and now - server.last_seen_at < CONNECTED_WITHIN)
    if server.instance and alive and server.machine_id and server.machine_id != machine_id:
        raise Conflict(
            f"another machine is at work as the file server {server.name}: two agents have the same identity",
            hint="enrol this one under its own name; if it was copied from the other, delete its state first",
        )
    if server.instance and not first:
        require_instance(server, instance)
    restarted = bool(server.boot_id) and server.boot_id != boot_id
    server.instance, server.machine_id, server.boot_id = instance, machine_id, boot_id
    return True, restarted


def note_rival(server: FileServer, address: str, now: datetime) -> None:
    """Another machine has spoken with this file server's identity: an alert says so for a while."""
    server.rival_seen_at, server.rival_address = now, address


def looks_like_a_copy(server: FileServer, *, boot_id: str, address: str, now: datetime) -> bool:
    """Whether who speaks now is not the machine that did a moment ago, though both bear one machine id.

    A copied virtual machine keeps the machine id; its boot and its address are others. Who was started anew
    and moved within a minute looks the same, which is why nobody is turned away for it.
    """
    return (
        is_connected(server, now)
        and bool(server.boot_id and server.address)
        and server.boot_id != boot_id
        and server.address != address
    )


def require_instance(server: FileServer, instance: str) -> None:
    """Raises Forbidden where another agent process has taken this one's place."""
    if server.instance != instance:
        raise Forbidden(
            f"another agent process speaks for the file server {server.name} now",
            hint="only one agent may run with one identity; this one stops",
        )


def is_connected(server: FileServer, now: datetime) -> bool:
    """Whether its agent was heard of lately."""
    return (
        server.agent_key_hash is not None
        and server.last_seen_at is not None
        and now - server.last_seen_at < CONNECTED_WITHIN
    )


def is_silent(now: datetime) -> ColumnElement[bool]:
    """A condition on file servers: those that are not `is_connected`."""
    return or_(
        FileServer.agent_key_hash.is_(None),
        FileServer.last_seen_at.is_(None),
        FileServer.last_seen_at <= now - CONNECTED_WITHIN,
    )


def revoke_agent(db: Session, actor: Actor, file_server_id: int, *, now: datetime) -> FileServer:
    """The agent's credential does not hold from now on. Its backups stay. Raises NotFound."""
    server = get_file_server(db, file_server_id)
    if server.agent_key_hash is not None:
        server.agent_key_hash = None
        server.agent_epoch += 1
        server.instance = ""
        audit.record(db, actor, "file_server.revoke", server.name, now=now)
    return server


def get_file_server(db: Session, file_server_id: int) -> FileServer:
    """The file server of this number. Raises NotFound."""
    server = db.get(FileServer, file_server_id)
    if server is None or server.removed_at is not None:
        raise NotFound(f"there is no file server {file_server_id}", hint="list them to see their numbers")
    return server


def find_file_server(db: Session, name: str) -> FileServer:
    """The file server of this name. Raises NotFound."""
    server = db.scalars(
        select(FileServer).where(FileServer.name == name, FileServer.removed_at.is_(None))
    ).first()
    if server is None:
        raise NotFound(f"there is no file server {name}", hint="`backstay file-servers` lists them")
    return server


def list_file_servers(
    db: Session, *, search: str = "", limit: int = 100, after: str = ""
) -> tuple[list[FileServer], int]:
    """File servers by name, from the one after `after`; and how many there are in all."""
    query = select(FileServer).where(FileServer.removed_at.is_(None))
    if search:
        query = query.where(FileServer.name.icontains(search, autoescape=True))
    total = db.scalar(select(func.count()).select_from(query.subquery())) or 0
    rows = db.scalars(query.where(FileServer.name > after).order_by(FileServer.name).limit(limit)).all()
    return list(rows), total


def count_file_servers(db: Session, now: datetime) -> tuple[int, int]:
    """How many there are, and how many of them are connected."""
    there = FileServer.removed_at.is_(None)
    alive = (FileServer.agent_key_hash.is_not(None), FileServer.last_seen_at > now - CONNECTED_WITHIN)
    total = db.scalar(select(func.count()).select_from(FileServer).where(there)) or 0
    connected = db.scalar(select(func.count()).select_from(FileServer).where(there, *alive)) or 0
    return total, connected


def count_sets(db: Session, file_server_ids: Sequence[int]) -> dict[int, int]:
    """How many backup sets each of these file servers has; those without any are left out."""
    query = (
        select(BackupSetRow.file_server_id, func.count())
        .where(BackupSetRow.file_server_id.in_(file_server_ids), BackupSetRow.removed_at.is_(None))
        .group_by(BackupSetRow.file_server_id)
    )
    return {row[0]: row[1] for row in db.execute(query)}
