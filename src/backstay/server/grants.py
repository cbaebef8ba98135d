"""What the agent behind a request may do with the repository: its job decides, and nothing else.

A backup may add packs, index runs, its own session's markers and one manifest, and see what a writer must
know. A restore may fetch the packs that its restore point needs. Nobody deletes.
"""

import re
import threading
import time
from dataclasses import dataclass, field

from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.requests import Request

from backstay.domain.errors import Forbidden, NotSignedIn
from backstay.domain.job import JobKind
from backstay.repository.layout import MANIFESTS, SESSIONS, digest_of
from backstay.server import fleet, job_queue
from backstay.server.agent_api import AgentId, agent_id
from backstay.server.control import Control
from backstay.server.tables import PackRow, RestorePointRow, WriterSession

_JOB = re.compile(r"[0-9]{1,15}:[0-9]{1,9}")
_REMEMBERED_SECONDS = 5.0
"""See docs/decisions/0030-what-a-stolen-agent-can-do.md."""


@dataclass(frozen=True)
class Grant:
    """One job's access to its repository.

    Attributes:
        restore_point: id of the point that a restore job reads, or empty for a backup.
        epoch, instance: under which the job is held, and by which agent process.
    """

    file_server_id: int
    file_server: str
    backup_set: str
    job_id: int
    repository_id: str
    restore_point: str = ""
    epoch: int = 0
    instance: str = ""

    @property
    def reads(self) -> bool:
        """Whether it is a restore."""
        return bool(self.restore_point)


@dataclass
class Grants:
    """Looks up the grant of each request; an answer holds for a few seconds, as packs come fast."""

    control: Control
    _known: dict[tuple[AgentId, str], tuple[float, Grant]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def of(self, request: Request, *, fresh: bool = False) -> Grant:
        """The grant of a request by its agent and `X-Backstay-Job: <job>:<epoch>`.

        Args:
            fresh: nothing that is remembered counts.

        Raises:
            NotSignedIn, Forbidden: no agent of ours, or the job is not (any more) its own.
        """
        known = None if fresh else self.remembered(request)
        if known is not None:
            return known
        agent, job = key = _key(request)
        now = time.monotonic()
        grant = self._look_up(agent, job)
        with self._lock:
            self._known = {key: value for key, value in self._known.items() if value[0] > now}
            self._known[key] = (now + _REMEMBERED_SECONDS, grant)
        return grant

    def remembered(self, request: Request) -> Grant | None:
        """The grant of a request if it was looked up lately; waits for nothing. Raises NotSignedIn."""
        with self._lock:
            known = self._known.get(_key(request))
        return known[1] if known is not None and known[0] > time.monotonic() else None

    def _look_up(self, agent: AgentId, job: str) -> Grant:
        number, _, epoch = job.partition(":")
        if not _JOB.fullmatch(job):
            raise NotSignedIn("the request names no job", hint="the repository is reached for a job alone")
        with self.control.database.read() as db:
            server = fleet.identify(db, agent.file_server_id, agent.secret)
            fleet.require_instance(server, agent.instance)
            row = job_queue.held_job(db, int(number), int(epoch), agent.instance, server.id, to_change=False)
            assert row.repository_id is not None
            point = row.restore_point_id if row.kind == JobKind.RESTORE.value else None
            set_name = row.backup_set.name if row.backup_set is not None else ""
            return Grant(
                server.id,
                server.name,
                set_name,
                row.id,
                row.repository_id,
                restore_point=point or "",
                epoch=row.lease_epoch,
                instance=agent.instance,
            )


def _key(request: Request) -> tuple[AgentId, str]:
    return agent_id(request), request.headers.get("x-backstay-job", "")


def own_sessions(db: Session, grant: Grant) -> set[str]:
    """Ids of the writing sessions of the file server in this repository that have not ended."""
    return set(
        db.scalars(
            select(WriterSession.id).where(
                WriterSession.file_server_id == grant.file_server_id,
                WriterSession.repository_id == grant.repository_id,
                WriterSession.ended_at.is_(None),
            )
        )
    )


def owns(db: Session, grant: Grant, folder: str, rest: str) -> bool:
    """Whether an object is one that the file server's agent may look at: `rest` is its name in the folder."""
    if folder == SESSIONS:
        session = db.get(WriterSession, rest.partition("/")[0])
        return (
            session is not None
            and session.file_server_id == grant.file_server_id
            and session.repository_id == grant.repository_id
        )
    digest = digest_of(f"{folder}{rest}")
    if digest is None:
        return False
    if folder == MANIFESTS:
        point = db.get(RestorePointRow, digest.hex())
        return (
            point is not None
            and point.file_server_id == grant.file_server_id
            and point.repository_id == grant.repository_id
            and point.expired_at is None
        )
    pack = db.get(PackRow, (grant.repository_id, digest.hex()))
    return pack is not None and pack.file_server_id == grant.file_server_id and not pack.indexed


def own_points(db: Session, grant: Grant) -> set[str]:
    """Ids of the file server's restore points in this repository."""
    return set(
        db.scalars(
            select(RestorePointRow.id).where(
                RestorePointRow.file_server_id == grant.file_server_id,
                RestorePointRow.repository_id == grant.repository_id,
                RestorePointRow.expired_at.is_(None),
            )
        )
    )


def own_loose_packs(db: Session, grant: Grant) -> dict[str, int]:
    """Digest and size of the file server's packs that no index run names: a crash left them so."""
    rows = db.execute(
        select(PackRow.digest, PackRow.size).where(
            PackRow.file_server_id == grant.file_server_id,
            PackRow.repository_id == grant.repository_id,
            PackRow.indexed.is_(False),
            # Not one that was to go straight to the store, and of which nobody knows whether it did.
            PackRow.session != "",
        )
    )
    return {row.digest: row.size for row in rows}


def refused(what: str) -> Forbidden:
    """The error for what a grant does not give."""
    return Forbidden(
        f"{what}: this job's access does not give that",
        hint="an agent adds backups of its own file server, and reads for a restore that was ordered",
    )
