"""What agents ask: enrol, *lease*, *report*, *outcome*. Agents call out only; the server never calls them."""

import asyncio
import time
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request
from sqlalchemy.orm import Session

import backstay
from backstay.domain.errors import Conflict, Forbidden, NotFound, NotSignedIn
from backstay.domain.job import GOOD_STATES, JobKind, JobState
from backstay.protocol.inventory import Inventory
from backstay.protocol.policy_document import PolicyValues
from backstay.protocol.report import (
    EnrolReply,
    EnrolRequest,
    Outcome,
    OutcomeReply,
    Report,
    ReportReply,
    WhoAmIReply,
)
from backstay.protocol.ticket import (
    BackupTicket,
    Greeting,
    LeaseReply,
    RepositoryAccess,
    RestoreTicket,
    Ticket,
)
from backstay.server import agent_logs, fleet, job_queue, looks
from backstay.server.api.dependencies import ControlDep
from backstay.server.catalogue import sealed_manifest
from backstay.server.control import Control
from backstay.server.fleet import Speaker
from backstay.server.sign_in import client_address, hash_of
from backstay.server.small_talk import Held
from backstay.server.tables import BackupSetRow, JobRow, RepositoryRow
from backstay.server.waiting_agents import WaitingAgents

router = APIRouter(prefix="/agent/v1", tags=["agent"], include_in_schema=False)

_ENDED_BY = {
    "succeeded": GOOD_STATES,
    "failed": {JobState.FAILED},
    "cancelled": {JobState.CANCELLED, JobState.ABORTED},
}
"""States of a job that an outcome may have led to."""


@dataclass(frozen=True)
class AgentId:
    """Who an agent says it is; `fleet.identify` checks it."""

    file_server_id: int
    secret: str
    instance: str


def agent_id(request: Request) -> AgentId:
    """From `Authorization: Agent <number>:<secret>` and `X-Backstay-Instance`. Raises NotSignedIn."""
    kind, _, rest = request.headers.get("authorization", "").partition(" ")
    number, _, secret = rest.strip().partition(":")
    instance = request.headers.get("x-backstay-instance", "")
    if kind.lower() != "agent" or not number.isdecimal() or len(number) > 15 or not secret or not instance:
        raise NotSignedIn("only an enrolled agent may ask this", hint="enrol it with `backstay agent enrol`")
    return AgentId(int(number), secret, instance)


Agent = Annotated[AgentId, Depends(agent_id)]
JobNumber = Annotated[int, Path(ge=1, le=1 << 53)]


@router.post("/enrol")
def enrol(control: ControlDep, request: Request, message: EnrolRequest) -> EnrolReply:
    """Take in a new agent that shows an enrolment token."""
    with control.database.begin() as db:
        identity = fleet.enrol(
            db, message.secret, message.name, now=control.clock(), address=client_address(request)
        )
    return EnrolReply(file_server_id=identity.file_server_id, name=identity.name, secret=identity.secret)


@router.post("/who-am-i")
def who_am_i(control: ControlDep, agent: Agent) -> WhoAmIReply:
    """Say whom the server takes the agent for. The agent that runs is not disturbed."""
    with control.database.read() as db:
        server = fleet.identify(db, agent.file_server_id, agent.secret)
        return WhoAmIReply(
            file_server_id=server.id,
            name=server.name,
            server_time_ns=int(control.clock().timestamp() * 1e9),
            version=backstay.__version__,
        )


@router.post("/lease")
async def lease(control: ControlDep, request: Request, agent: Agent, greeting: Greeting) -> LeaseReply:
    """Hand out the next job; the question is held open until there is one, or its time is over."""
    waiting_agents: WaitingAgents = request.app.state.waiting_agents
    speaker = Speaker(
        greeting.instance, greeting.boot_id, client_address(request), greeting.system, greeting.version
    )
    ends = time.monotonic() + min(greeting.wait_seconds, control.settings.lease_poll_seconds)
    # From here on, so that what is asked for while it is looked for is not missed.
    with waiting_agents.waiting(agent.file_server_id) as called:
        ticket = await waiting_agents.in_thread(_take_in, control, agent, greeting, speaker)
        while ticket is None and (left := ends - time.monotonic()) > 0 and not control.stopping.is_set():
            try:
                await asyncio.wait_for(called.wait(), left)
            except TimeoutError:
                break
            called.clear()
            if await request.is_disconnected():
                break
            ticket = await waiting_agents.in_thread(_next_ticket, control, agent, greeting)
    return LeaseReply(ticket=ticket, server_time_ns=int(control.clock().timestamp() * 1e9))


def _take_in(control: Control, agent: AgentId, greeting: Greeting, speaker: Speaker) -> Ticket | None:
    """Note that the agent is there; and its next job, if there is one and it has room."""
    now = control.clock()
    # Most agents are who they were, and find nothing: they only read, and take no turn among the writers.
    with control.database.read() as db:
        known = fleet.is_as_known(db, agent.file_server_id, agent.secret, speaker) and not greeting.log
        something = _something_for(db, agent, greeting, now)
    ahead = greeting.time_ns / 1e9 - now.timestamp()
    if known:
        control.small_talk.heard(agent.file_server_id, now, clock_ahead=ahead)
    else:
        _greet(control, agent, greeting, speaker, now, ahead)
    return _next_ticket(control, agent, greeting) if something or not known else None


def _something_for(db: Session, agent: AgentId, greeting: Greeting, now: datetime) -> bool:
    """Whether there is a question or a job for the agent."""
    number = agent.file_server_id
    if greeting.looks and looks.has_question(db, number, now):
        return True
    return greeting.room > 0 and job_queue.has_work(db, number, agent.instance, greeting.busy, now)


def _greet(
    control: Control, agent: AgentId, greeting: Greeting, speaker: Speaker, now: datetime, ahead: float
) -> None:
    try:
        with control.database.begin() as db:
            server = fleet.identify(db, agent.file_server_id, agent.secret, to_change=True)
            if fleet.looks_like_a_copy(server, boot_id=speaker.boot_id, address=speaker.address, now=now):
                fleet.note_rival(server, speaker.address, now)
            replaced, restarted = fleet.greet(
                server,
                instance=speaker.instance,
                first=greeting.first,
                busy=job_queue.runs_for(db, server, now),
                machine_id=greeting.machine_id,
                boot_id=speaker.boot_id,
                now=now,
            )
            if replaced:
                job_queue.abort_lost(db, server, now, machine_restarted=restarted)
            server.last_seen_at, server.clock_offset = now, ahead
            server.address, server.system, server.version = speaker.address, speaker.system, speaker.version
            agent_logs.keep(db, server, greeting.log, now)
    except Conflict:
        with control.database.begin() as db:
            server = fleet.identify(db, agent.file_server_id, agent.secret, to_change=True)
            fleet.note_rival(server, speaker.address, now)
        raise


def _next_ticket(control: Control, agent: AgentId, greeting: Greeting) -> Ticket | None:
    now = control.clock()
    with control.database.read() as db:
        if not _something_for(db, agent, greeting, now):
            return None
    with control.database.begin() as db:
        server = fleet.identify(db, agent.file_server_id, agent.secret)
        fleet.require_instance(server, agent.instance)
        if greeting.looks and (look := looks.take(db, server, agent.instance, now)) is not None:
            return look
        if greeting.room <= 0:
            return None
        job = job_queue.lease_for_agent(db, server, agent.instance, now, greeting.busy)
        if job is None:
            return None
        repository = db.get_one(RepositoryRow, job.repository_id)
        access = RepositoryAccess(
            id=repository.id,
            credential=control.repositories.credential(repository.id),
            data_path="direct" if repository.data_path == "direct" else "gateway",
        )
        if job.kind == JobKind.RESTORE.value:
            return _restore_ticket(control, job, server.name, access)
        assert job.backup_set is not None
        return _backup_ticket(job, job.backup_set, server.name, access)


def _backup_ticket(
    job: JobRow, backup_set: BackupSetRow, file_server: str, access: RepositoryAccess
) -> BackupTicket:
    from backstay.server.policies import policy_of

    rule = backup_set.content_rule
    return BackupTicket(
        job=job.id,
        epoch=job.lease_epoch,
        file_server=file_server,
        backup_set=backup_set.name,
        paths=[path.encode("utf-8", "surrogateescape") for path in backup_set.paths],
        rule=rule.text if rule else "",
        default_rules=rule.default_rules if rule else True,
        cross_mounts=backup_set.cross_mounts,
        policy=PolicyValues.of(policy_of(backup_set).policy),
        repository=access,
    )


def _restore_ticket(
    control: Control, job: JobRow, file_server: str, access: RepositoryAccess
) -> RestoreTicket:
    assert job.restore_point_id is not None
    manifest = sealed_manifest(control, access.id, job.restore_point_id)
    return RestoreTicket.model_validate(
        {
            **job.request,
            "job": job.id,
            "epoch": job.lease_epoch,
            "file_server": file_server,
            "point": job.restore_point_id,
            "manifest": manifest,
            "repository": access,
        }
    )


def _held(db: Session, agent: AgentId, job_id: int, epoch: int, now: datetime, what: str) -> JobRow | str:
    """The job, if this agent holds it under this epoch; else why it does not, in words.

    `what` came too late then, which the job's log says once.

    Raises:
        NotFound: it is none of the agent's file server.
    """
    server = fleet.identify(db, agent.file_server_id, agent.secret)
    job = job_queue.get_job(db, job_id, to_change=True)
    if job.file_server_id != server.id:
        raise NotFound(f"there is no job {job_id} of this file server")
    try:
        fleet.require_instance(server, agent.instance)
        return job_queue.held_job(db, job_id, epoch, agent.instance, server.id)
    except Forbidden as error:
        job_queue.log_once(db, job, f"a late {what} was turned away: {error.what}", now)
        return error.what


def _told_before(db: Session, agent: AgentId, job_id: int, message: Outcome) -> OutcomeReply | None:
    """The reply to an outcome that is said again, as the answer was lost; None where it is not."""
    server = fleet.identify(db, agent.file_server_id, agent.secret)
    job = job_queue.get_job(db, job_id)
    own = (job.file_server_id, job.lease_epoch, job.leased_to) == (server.id, message.epoch, agent.instance)
    if own and JobState(job.state) in _ENDED_BY[message.state]:
        return OutcomeReply(state=job.state, reason=job.reason)
    return None


@router.post("/inventory", status_code=204)
def inventory(control: ControlDep, agent: Agent, message: Inventory) -> None:
    """Keep what the agent says of the data on its file server."""
    with control.database.begin() as db:
        server = fleet.identify(db, agent.file_server_id, agent.secret)
        fleet.require_instance(server, agent.instance)
        server.inventory = message.model_dump(mode="json")


@router.post("/jobs/{job_id}/report")
async def report(
    control: ControlDep, request: Request, agent: Agent, job_id: JobNumber, message: Report
) -> ReportReply:
    """Take in how a job goes; the answer says go on, cancel, or lost."""
    waiting_agents: WaitingAgents = request.app.state.waiting_agents
    return await waiting_agents.in_thread(_report, control, agent, job_id, message)


def _report(control: Control, agent: AgentId, job_id: int, message: Report) -> ReportReply:
    now = control.clock()
    held, talk = Held(job_id, message.epoch, agent.instance), control.small_talk
    if not message.messages and talk.says_nothing_new(held, message.steps):
        with control.database.read() as db:
            cancelled_by = job_queue.cancelled_by(
                db, held.job, held.epoch, held.instance, agent.file_server_id, hash_of(agent.secret)
            )
        if cancelled_by is not None:
            talk.heard(agent.file_server_id, now)
            talk.progress(held, message.progress, now)
            return job_queue.reply_to(cancelled_by, now)
    with control.database.begin() as db:
        job = _held(db, agent, job_id, message.epoch, now, "report")
        if isinstance(job, str):
            return ReportReply(verdict="lost", reason=job, server_time_ns=int(now.timestamp() * 1e9))
        reply = job_queue.report(db, job, message, now)
        lease = job_queue.lease_of(db, job)
    # Not before it is committed, and never in one transaction with the job: see job_queue for the order.
    talk.written(held, message.steps, lease, now)
    talk.heard(agent.file_server_id, now)
    control.wakeups.wake()
    return reply


@router.post("/jobs/{job_id}/outcome")
async def outcome(
    control: ControlDep, request: Request, agent: Agent, job_id: JobNumber, message: Outcome
) -> OutcomeReply:
    """Take in how a job ended. Said twice, or too late, it changes nothing, and the answer says so."""
    waiting_agents: WaitingAgents = request.app.state.waiting_agents
    return await waiting_agents.in_thread(_outcome, control, agent, job_id, message)


def _outcome(control: Control, agent: AgentId, job_id: int, message: Outcome) -> OutcomeReply:
    now = control.clock()
    if message.look is not None:
        with control.database.begin() as db:
            server = fleet.identify(db, agent.file_server_id, agent.secret)
            looks.answered(db, server, agent.instance, job_id, message.epoch, message.look, now)
        return OutcomeReply(state=message.state)
    with control.database.begin() as db:
        told = _told_before(db, agent, job_id, message)
        if told is not None:
            return told
        job = _held(db, agent, job_id, message.epoch, now, "outcome")
        if isinstance(job, str):
            return OutcomeReply(state=job_queue.get_job(db, job_id).state, reason=job)
        state = job_queue.finish(db, job, message, now)
        reply = OutcomeReply(state=state.value, reason=job.reason)
    control.wakeups.wake()
    return reply
