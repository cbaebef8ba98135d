"""Garbage collection: plan, tombstone, grace, delete; beside running backups.

A first run condemns packs by a tombstone: from then on no new session relies on them. A
later run, when the grace period is over and every session that was there before the
tombstone has ended, looks once more what the restore points need, and deletes what is
left. docs/format.md has the argument as a table, operation by operation.
"""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from backstay.domain.errors import DamagedObject, ObjectNotFound, RepositoryError
from backstay.repository.encryption import FrameKey
from backstay.repository.index import RunBuilder
from backstay.repository.index_cache import IndexCache
from backstay.repository.index_store import put_run, replace_index
from backstay.repository.layout import EXPIRIES, MAINTENANCE, PACKS, digest_of, object_name, pack_name
from backstay.repository.manifest import (
    ExpiredPoint,
    Expiry,
    RestorePoint,
    encode_expiry,
)
from backstay.repository.pack import read_trailer
from backstay.repository.prune_plan import MOST_UNUSED, PrunePlan, plan_prune
from backstay.repository.reachability import Marks, References, roots_of
from backstay.repository.repack import Repacker
from backstay.repository.repository import Repository
from backstay.repository.session import (
    ABANDONED,
    COLLECTOR,
    COMMITTED,
    LEASE_SECONDS,
    REVOKED,
    SLACK_SECONDS,
    SessionMarker,
    SessionState,
    end_session,
    forget_session,
    list_sessions,
    refuse_second_collector,
    was_revoked,
)
from backstay.repository.tombstone import (
    DAMAGED,
    UNUSED,
    StoredTombstone,
    Tombstone,
    put_tombstone,
    read_tombstones,
)

GRACE_SECONDS = 24 * 3600
"""So long a condemned pack stays at least: a reader that still wants it has time to finish."""

_MANY_RUNS = 24

_REVOKED_KEPT_SECONDS = 90 * 24 * 3600
"""So long it is remembered that a session was given up, should it wake up and put its manifest after all."""


@dataclass
class PruneOutcome:
    """What a run did, or with `dry_run` would have done.

    Attributes:
        expired: restore points taken out.
        plan: what became of each pack.
        moved_bytes: stored bytes written for what is needed of rewritten packs.
        deleted_packs, deleted_bytes: condemned earlier, and now gone.
        waiting_packs: condemned, and not yet deleted.
        notes: why something has to wait, and what else is worth telling.
    """

    expired: list[RestorePoint] = field(default_factory=list)
    plan: PrunePlan | None = None
    moved_bytes: int = 0
    deleted_packs: int = 0
    deleted_bytes: int = 0
    waiting_packs: int = 0
    notes: list[str] = field(default_factory=list)


def run_prune(
    repository: Repository,
    expire: Callable[[list[RestorePoint]], Sequence[RestorePoint]],
    *,
    grace_seconds: float = GRACE_SECONDS,
    most_unused: float = MOST_UNUSED,
    dry_run: bool = False,
    tell: Callable[[str], None] = lambda text: None,
) -> PruneOutcome:
    """Take out restore points and collect what nothing needs any more.

    Args:
        expire: chooses, of all restore points, those to take out.
        grace_seconds: age of a tombstone, by the storage's clock, before its packs go.
        dry_run: change nothing; the outcome says what would be done.
        tell: called with what is being done, in words.

    Raises:
        AlreadyRunning: another garbage collection is under way.
        RepositoryError: the repository is damaged so that it is not known what is needed.
        StorageError.
    """
    if dry_run:
        with TemporaryDirectory(prefix="backstay-prune-") as folder:
            return _Prune(repository, None, Path(folder), grace_seconds, most_unused, tell).dry_run(expire)
    marker = SessionMarker(
        repository.storage,
        repository.secrets.catalogue_key,
        kind=COLLECTOR,
        backup_set="",
        now_ns=time.time_ns(),
    )
    try:
        with TemporaryDirectory(prefix="backstay-prune-") as folder:
            return _Prune(repository, marker, Path(folder), grace_seconds, most_unused, tell).run(expire)
    finally:
        marker.end(ABANDONED)


class _Prune:
    def __init__(
        self,
        repository: Repository,
        marker: SessionMarker | None,
        folder: Path,
        grace_seconds: float,
        most_unused: float,
        tell: Callable[[str], None],
    ) -> None:
        self._repository = repository
        self._storage = repository.storage
        self._catalogue_key = repository.secrets.catalogue_key
        self._marker = marker
        # What is deleted for good is not decided by copies that have lain about on a disk for months.
        self._runs = IndexCache(folder)
        self._grace_seconds = grace_seconds
        self._most_unused = most_unused
        self._tell = tell
        self._outcome = PruneOutcome()

    def dry_run(self, expire: Callable[[list[RestorePoint]], Sequence[RestorePoint]]) -> PruneOutcome:
        """The plan for the packs, with the chosen restore points left out."""
        sessions = list_sessions(self._storage)
        points = self._points()
        self._outcome.expired = list(expire(points))
        gone = {point.id for point in self._outcome.expired}
        self._look([point for point in points if point.id not in gone])
        self._outcome.plan = self._plan(sessions)
        stones = read_tombstones(self._storage, self._catalogue_key)
        self._outcome.waiting_packs = sum(
            len(stone.tombstone.packs) for stone in stones if stone.tombstone.reason == UNUSED
        )
        return self._outcome

    def run(self, expire: Callable[[list[RestorePoint]], Sequence[RestorePoint]]) -> PruneOutcome:
        """Everything, in an order that a crash can cut anywhere."""
        # Sessions are listed before manifests: one that has ended here has its manifest there.
        sessions = self._sessions()
        stones = read_tombstones(self._storage, self._catalogue_key)
        points = self._committed(self._points(), sessions)
        self._outcome.expired = list(expire(points))
        gone = {point.id for point in self._outcome.expired}
        self._tell("finding out what the restore points need")
        self._look([point for point in points if point.id not in gone])
        self._renew_tombstones(stones, self._outcome.expired)
        self._expire(self._outcome.expired)
        self._condemn(sessions)
        # What was condemned just now was judged by what is known from before it was condemned.
        young = [
            stone for stone in read_tombstones(self._storage, self._catalogue_key) if stone not in stones
        ]
        self._delete_ripe(stones, sessions, young)
        if self._grace_seconds <= 0:
            # Nobody asked for time to pass: what was condemned just now may go at once
            # if no one else is writing, which only a fresh look can tell.
            sessions = self._sessions()
            stones = read_tombstones(self._storage, self._catalogue_key)
            self._look(self._points())
            self._delete_ripe(stones, sessions)
        self._compact_index()
        self._forget_sessions(sessions)
        return self._outcome

    def _sessions(self) -> dict[bytes, SessionState]:
        """All sessions but this one. Those that have been silent for too long are ended for good."""
        assert self._marker is not None
        self._marker.renew()
        states = list_sessions(self._storage)
        self._now = states.pop(self._marker.id).renewed
        for state in list(states.values()):
            if not state.ended and self._now - state.renewed > LEASE_SECONDS:
                # One that died between its manifest and its end has lost nothing yet.
                whole = any(point.manifest.session == state.id for point in self._repository.points())
                end_session(self._storage, state.id, COMMITTED if whole else REVOKED)
                states[state.id] = state._replace(ended=True)
                self._outcome.notes.append(
                    f"session {state.id.hex()[:8]} was silent for a day and was given up"
                )
        return refuse_second_collector(self._storage, self._catalogue_key, states)

    def _committed(
        self, points: list[RestorePoint], sessions: dict[bytes, SessionState]
    ) -> list[RestorePoint]:
        """Take out restore points of sessions that were given up.

        Such a session woke up, put its manifest, found that it had been given up, and died before it
        could take the manifest back. What the manifest refers to may be gone.
        """
        revoked = {
            state.id for state in sessions.values() if state.ended and was_revoked(self._storage, state.id)
        }
        self._expire([point for point in points if point.manifest.session in revoked])
        return [point for point in points if point.manifest.session not in revoked]

    def _points(self) -> list[RestorePoint]:
        before = len(self._repository.damaged)
        points = self._repository.points()
        damaged = self._repository.damaged[before:]
        if damaged:
            raise RepositoryError(
                f"nothing is pruned, as it is not known what the damaged {damaged[0].name} refers to",
                hint="run `backstay repo verify`; `backstay repo rebuild` can make a lost manifest anew",
            )
        return points

    def _look(self, points: list[RestorePoint]) -> None:
        """Find out what these restore points need. Raises RepositoryError where that cannot be known."""
        stones = read_tombstones(self._storage, self._catalogue_key)
        condemned = frozenset(pack for stone in stones for pack in stone.tombstone.packs)
        self._index, damaged = self._runs.open(self._storage, self._catalogue_key, condemned)
        if damaged:
            raise RepositoryError(
                f"nothing is pruned, as {damaged[0].name} is damaged",
                hint="run `backstay repo rebuild` first",
            )
        self._present = {
            digest: info.size for info in self._storage.list(PACKS) if (digest := digest_of(info.name))
        }
        references = self._references = References.load(self._storage, self._index, self._catalogue_key)
        self._marks = self._marks_of(points)
        roots = list(roots_of(points))
        unknown = [root for root in roots if root[:16] not in references]
        if unknown or (references.damaged and self._marks.missing):
            raise RepositoryError(
                "nothing is pruned, as metadata that restore points need is missing or damaged",
                hint="run `backstay repo verify` to see what it touches, then `backstay repo rebuild`",
            )

    def _marks_of(self, points: list[RestorePoint]) -> Marks:
        marks = Marks(self._index.runs, self._index.condemned, self._present)
        marks.mark(self._references.from_roots(roots_of(points)))
        return marks

    def _renew_tombstones(self, stones: list[StoredTombstone], expiring: list[RestorePoint]) -> None:
        """Condemn anew what is condemned already, and needed by points that are about to go.

        A backup that began after the first tombstone does not rely on its packs of itself, but it may
        build upon one of these points, and so rely on them all the same. It must be waited for.
        """
        if not expiring:
            return
        needed = {pack for pack, use in self._marks.uses().items() if use.needed}
        missed = {pack for pack, use in self._marks_of(expiring).uses().items() if use.needed} - needed
        for reason in (UNUSED, DAMAGED):
            packs = {
                pack for stone in stones if stone.tombstone.reason == reason for pack in stone.tombstone.packs
            }
            if packs & missed:
                stone = Tombstone(1, reason, sorted(packs & missed), time.time_ns())
                put_tombstone(self._storage, self._catalogue_key, stone)

    def _plan(self, sessions: dict[bytes, SessionState]) -> PrunePlan:
        uses = {
            pack: use
            for pack, use in self._marks.uses().items()
            if pack in self._present and pack not in self._index.condemned
        }
        writing = self._writing(sessions)
        spared: set[bytes] = set()
        if writing:
            for pack, use in uses.items():
                if use.needed < use.total and self._session_of(pack) in writing:
                    spared.add(pack)
        return plan_prune(uses, frozenset(spared), most_unused=self._most_unused)

    def _writing(self, sessions: dict[bytes, SessionState]) -> set[bytes]:
        """Sessions that were writing at first or are now: their packs are not judged."""
        now = list_sessions(self._storage)
        states = [*sessions.values(), *now.values()]
        return {state.id for state in states if not state.ended} - {self._marker.id if self._marker else b""}

    def _session_of(self, pack: bytes) -> bytes | None:
        try:
            return read_trailer(self._storage, pack_name(pack), self._catalogue_key).session
        except (DamagedObject, ObjectNotFound):
            return None

    def _expire(self, points: list[RestorePoint]) -> None:
        if not points:
            return
        self._tell(f"taking out {len(points)} restore points")
        expired = [
            ExpiredPoint(
                point.id,
                point.manifest.previous,
                point.manifest.details,
                point.manifest.file_server,
                point.manifest.backup_set,
                point.manifest.sequence,
                point.manifest.time_ns,
            )
            for point in points
        ]
        sealed, digest = encode_expiry(Expiry(1, expired, time.time_ns()), self._catalogue_key)
        self._storage.put(object_name(EXPIRIES, digest), [sealed])
        self._storage.sync()
        for point in points:
            self._storage.delete(point.name)
        self._storage.sync()

    def _condemn(self, sessions: dict[bytes, SessionState]) -> None:
        """Rewrite what is worth it, then put a tombstone over everything that is no longer needed."""
        assert self._marker is not None
        plan = self._outcome.plan = self._plan(sessions)
        orphans = self._orphans(sessions)
        condemned = set(plan.condemn) | orphans
        if plan.rewrite:
            self._tell(f"rewriting {len(plan.rewrite)} packs")
            condemned |= self._rewrite(plan.rewrite)
        if condemned:
            stone = Tombstone(1, UNUSED, sorted(condemned), time.time_ns())
            put_tombstone(self._storage, self._catalogue_key, stone)
            self._outcome.waiting_packs += len(condemned)

    def _orphans(self, sessions: dict[bytes, SessionState]) -> set[bytes]:
        """Packs that no index run names and no living session wrote: left by crashes."""
        unindexed = set(self._present) - set(self._index.packs()) - self._index.condemned
        if not unindexed:
            return set()
        if self._marks.missing:
            raise RepositoryError(
                "nothing is pruned, as the index lacks blobs that restore points need, and there are packs "
                "that it does not name",
                hint="run `backstay repo rebuild` first",
            )
        writing = self._writing(sessions)
        return {pack for pack in unindexed if self._session_of(pack) not in writing}

    def _rewrite(self, packs: frozenset[bytes]) -> set[bytes]:
        assert self._marker is not None
        secrets = self._repository.secrets
        needed = self._marks.needed_prefixes(packs)
        repacker = Repacker(
            self._storage,
            self._repository.reader_of(self._index),
            catalogue_key=self._catalogue_key,
            session=self._marker.id,
            key=FrameKey.new(secrets.public_key, secrets.repository_id) if secrets.can_read else None,
            is_needed=lambda pack, prefix: (pack, prefix) in needed,
        )
        moved: set[bytes] = set()
        for pack in sorted(packs):
            try:
                repacker.move(pack)
                moved.add(pack)
            except (DamagedObject, ObjectNotFound) as error:
                self._outcome.notes.append(f"{error}; it is left as it is")
        repacker.finish()
        self._put_run(repacker.builder)
        self._outcome.moved_bytes = repacker.moved_bytes
        return moved

    def _put_run(self, builder: RunBuilder) -> None:
        if len(builder):
            put_run(self._storage, self._catalogue_key, builder.encode())
            self._storage.sync()

    def _delete_ripe(
        self,
        stones: list[StoredTombstone],
        sessions: dict[bytes, SessionState],
        young: Sequence[StoredTombstone] = (),
    ) -> None:
        """Delete the packs of tombstones whose time has come, unless a restore point needs them again.

        A pack that a tombstone names whose time has not come, or that is among `young`, has to wait.
        """
        began = [state.began for state in sessions.values() if not state.ended]
        ripe: list[StoredTombstone] = []
        for stone in stones:
            if self._now - stone.modified < self._grace_seconds:
                continue
            if any(before <= stone.modified + SLACK_SECONDS for before in began):
                self._outcome.notes.append("some packs wait for a session that is still writing")
                continue
            ripe.append(stone)
        if not ripe:
            return
        uses = self._marks.uses()
        unripe = [*young, *(stone for stone in stones if stone not in ripe)]
        waiting = {pack for stone in unripe for pack in stone.tombstone.packs}
        condemned = {pack for stone in ripe for pack in stone.tombstone.packs} - waiting
        spared = {pack for pack in condemned if (use := uses.get(pack)) is not None and use.needed}
        doomed = condemned - spared
        self._tell(f"deleting {len(doomed)} packs")
        mark = os.urandom(32)
        self._storage.put(object_name(MAINTENANCE, mark), [b"collected"])
        self._storage.sync()
        if doomed & set(self._index.packs()):
            # First nobody finds them any more, then they go.
            replace_index(self._storage, self._catalogue_key, self._index, without=doomed)
        for pack in sorted(doomed):
            if pack in self._present:
                self._outcome.deleted_packs += 1
                self._outcome.deleted_bytes += self._present[pack]
            self._storage.delete(pack_name(pack))
        self._storage.sync()
        for stone in ripe:
            kept = [pack for pack in stone.tombstone.packs if pack in spared]
            if kept and stone.tombstone.reason == DAMAGED:
                if len(kept) < len(stone.tombstone.packs):
                    damaged = Tombstone(1, DAMAGED, kept, time.time_ns())
                    put_tombstone(self._storage, self._catalogue_key, damaged)
                else:
                    continue
            self._storage.delete(stone.name)
            if stone.tombstone.reason == UNUSED:
                self._outcome.waiting_packs -= len(stone.tombstone.packs)
        self._storage.sync()
        self._outcome.waiting_packs = max(0, self._outcome.waiting_packs)

    def _compact_index(self) -> None:
        index, _ = self._runs.open(self._storage, self._catalogue_key, frozenset())
        if len(index.sources) > _MANY_RUNS:
            self._tell("merging the index")
            replace_index(self._storage, self._catalogue_key, index)

    def _forget_sessions(self, sessions: dict[bytes, SessionState]) -> None:
        for state in sessions.values():
            # One that ended just now may still be looking for its markers.
            kept = _REVOKED_KEPT_SECONDS if was_revoked(self._storage, state.id) else SLACK_SECONDS
            if state.ended and self._now - state.renewed > kept:
                forget_session(self._storage, state.id)
        self._storage.sync()
