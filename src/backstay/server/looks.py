"""Looks: what a content rule would leave out of a folder as it is on a file server's disk now.

The question waits for the agent like a job: it is handed out by *lease* and answered by *outcome*. It is no
job, for it changes nothing and is forgotten after minutes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, and_, bindparam, delete, or_, select
from sqlalchemy.orm import Session

from backstay.domain.errors import Conflict, Forbidden, NotFound
from backstay.protocol.report import LookAnswer
from backstay.protocol.ticket import LookTicket
from backstay.server import content_rules, fleet
from backstay.server.access import Actor, Permission
from backstay.server.set_paths import checked_paths
from backstay.server.tables import FileServer, LookRow

PATIENCE = timedelta(seconds=20)
"""Whoever asks waits no longer, and an agent that comes later is not asked any more."""

_HANDED_OUT_AGAIN = timedelta(seconds=8)
_KEPT = timedelta(minutes=5)


@dataclass(frozen=True)
class Question:
    """What to look at, and by which rule.

    Attributes:
        path: as in a backup set.
        text: lines of a content rule; `default_rules`: after those of the agent's system.
    """

    file_server_id: int
    path: str
    text: str
    default_rules: bool = True
    cross_mounts: bool = False


def ask(db: Session, actor: Actor, question: Question, *, now: datetime) -> LookRow:
    """Ask the agent. It is for those who may decide what is backed up: they could see all names there anyway.

    A question that the same person asked that file server before is forgotten.

    Raises:
        Forbidden: the actor may not see names, or may not decide what is backed up.
        NotFound: there is no such file server.
        UsageError: the path cannot be one there, or a line of the rule cannot be understood.
        Conflict: its agent is not connected.
    """
    actor.require(Permission.EDIT)
    actor.require(Permission.BROWSE)
    server = fleet.get_file_server(db, question.file_server_id)
    [path] = checked_paths([question.path], windows=server.system.lower() == "windows")
    content_rules.parsed(question.text)
    if not fleet.is_connected(server, now):
        raise Conflict(
            f"the agent of {server.name} is not connected, so its disk cannot be looked at",
            hint="start it there: systemctl start backstay-agent",
        )
    mine = and_(LookRow.file_server_id == server.id, LookRow.asked_by == actor.name)
    db.execute(delete(LookRow).where(or_(mine, LookRow.asked_at < now - _KEPT)))
    ticket = LookTicket(
        job=0,
        epoch=0,
        path=path.encode("utf-8", "surrogateescape"),
        rule=question.text,
        default_rules=question.default_rules,
        cross_mounts=question.cross_mounts,
    )
    request = ticket.model_dump(mode="json", exclude={"job", "epoch"})
    row = LookRow(file_server_id=server.id, asked_by=actor.name, asked_at=now, request=request)
    db.add(row)
    db.flush()
    return row


def answer_of(db: Session, actor: Actor, look_id: int) -> tuple[LookRow, LookAnswer | None]:
    """The question, and the answer once it is there; only for who asked. Raises NotFound."""
    row = db.get(LookRow, look_id)
    if row is None or row.asked_by != actor.name:
        raise NotFound("that question was not asked, or is forgotten by now", hint="ask again")
    return row, LookAnswer.model_validate(row.answer) if row.answered_at is not None else None


def _waiting(now: datetime) -> ColumnElement[bool]:
    return and_(
        LookRow.answered_at.is_(None),
        LookRow.asked_at > now - PATIENCE,
        or_(LookRow.taken_at.is_(None), LookRow.taken_at < now - _HANDED_OUT_AGAIN),
    )


_QUESTION = (
    select(LookRow.id)
    .where(
        LookRow.file_server_id == bindparam("file_server"),
        LookRow.answered_at.is_(None),
        LookRow.asked_at > bindparam("asked_after"),
        or_(LookRow.taken_at.is_(None), LookRow.taken_at < bindparam("taken_before")),
    )
    .limit(1)
)
"""As `_waiting`; made once, for every agent asks it with every *lease*."""


def file_servers_asked(db: Session, now: datetime) -> Sequence[int]:
    """File servers whose agents are to be asked something."""
    return db.scalars(select(LookRow.file_server_id).where(_waiting(now)).distinct()).all()


def has_question(db: Session, file_server_id: int, now: datetime) -> bool:
    """Whether there is one that `take` would give."""
    limits = {"asked_after": now - PATIENCE, "taken_before": now - _HANDED_OUT_AGAIN}
    return db.scalars(_QUESTION, {"file_server": file_server_id, **limits}).first() is not None


def take(db: Session, server: FileServer, instance: str, now: datetime) -> LookTicket | None:
    """Give the agent process its next question, or None."""
    row = db.scalars(
        select(LookRow)
        .where(LookRow.file_server_id == server.id, _waiting(now))
        .order_by(LookRow.id)
        .limit(1)
        .with_for_update(skip_locked=True)
    ).first()
    if row is None:
        return None
    row.epoch += 1
    row.taken_by, row.taken_at = instance, now
    return LookTicket.model_validate({**row.request, "job": row.id, "epoch": row.epoch})


def answered(
    db: Session,
    server: FileServer,
    instance: str,
    look_id: int,
    epoch: int,
    answer: LookAnswer,
    now: datetime,
) -> None:
    """Keep an agent's answer.

    Raises:
        NotFound: the question is forgotten. Forbidden: another process was asked.
    """
    row = db.get(LookRow, look_id)
    if row is None or row.file_server_id != server.id:
        raise NotFound("the question is forgotten by now")
    if (row.epoch, row.taken_by) != (epoch, instance):
        raise Forbidden("another process was asked", hint="nobody waits for this answer")
    if row.answered_at is None:
        row.answer, row.answered_at = answer.model_dump(mode="json"), now
