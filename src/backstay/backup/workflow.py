"""The six steps of a backup, run as such; each is recorded with its state, figures and time."""

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import msgspec

import backstay
from backstay.backup.backup_type import BackupType, decide_type
from backstay.backup.capture import Capture, Captured
from backstay.backup.estimate import estimate
from backstay.backup.freeze import FrozenSource, freeze
from backstay.backup.listing_ahead import ListingAhead
from backstay.backup.progress import Progress
from backstay.backup.scan import ScanResult
from backstay.backup.scan_state import ScanState, open_scan_state
from backstay.backup.source import SourceRoot, choose_roots
from backstay.domain.content_rule import ContentRule
from backstay.domain.entry import Grade
from backstay.domain.errors import BackstayError, Cancelled
from backstay.repository.details import Details, Problem, StepRecord, put_details, put_problems
from backstay.repository.manifest import Manifest, RestorePoint
from backstay.repository.repository import Repository
from backstay.repository.writing_session import WritingSession
from backstay.system.host import quoted_path

REQUEST, TYPE, RECOVERY_POINT, ESTIMATE, TRANSMIT, CLEAN_UP = STEPS = (
    "request",
    "type",
    "recovery point / scan",
    "estimate",
    "transmit",
    "clean up",
)


@dataclass(frozen=True)
class BackupRequest:
    """What to back up.

    Attributes:
        paths: the set's paths, as bytes.
        backup_set: name of the set.
        rule: what to leave out.
        cross_mounts: enter directories on which another filesystem is mounted.
        allow_live: back up live files where no recovery point can be had.
        file_server: name of this machine.
        clock: nanoseconds since the epoch, for the times of the restore point and its steps: the server's,
            where there is one.
    """

    paths: list[bytes]
    backup_set: str = "default"
    rule: ContentRule = field(default_factory=ContentRule)
    rule_text: str = ""
    cross_mounts: bool = False
    allow_live: bool = True
    file_server: str = field(default_factory=socket.gethostname)
    clock: Callable[[], int] = time.time_ns


@dataclass(frozen=True)
class BackupOutcome:
    """How it went: the restore point, its problems, and what went through."""

    point: RestorePoint
    problems: list[Problem]
    steps: list[StepRecord]

    @property
    def complete(self) -> bool:
        """Whether every file of the set was captured as it was."""
        return not self.problems


class _Steps:
    """Records the steps as they happen."""

    def __init__(self, progress: Progress, clock: Callable[[], int]) -> None:
        self._progress = progress
        self._clock = clock
        self.records: list[StepRecord] = []

    @contextmanager
    def step(
        self, name: str, *, whatever_happened: bool = False
    ) -> Iterator[tuple[dict[str, int | float], list[str]]]:
        """`whatever_happened`: the step is done although the backup was cancelled."""
        figures: dict[str, int | float] = {}
        messages: list[str] = []
        started = self._clock()
        state = "failed"
        try:
            try:
                self._progress.step_started(name)
            except Cancelled:
                if not whatever_happened:
                    raise
            yield figures, messages
            state = "done"
        except Cancelled:
            state = "cancelled"
            raise
        except BackstayError as error:
            messages.append(str(error))
            raise
        finally:
            record = StepRecord(name, state, started, self._clock(), figures, messages)
            self.records.append(record)
            self._progress.step_ended(record)


def run_backup(
    repository: Repository,
    request: BackupRequest,
    progress: Progress,
    ahead: ListingAhead | None = None,
) -> BackupOutcome:
    """Back up, and commit a restore point.

    Args:
        ahead: a listing of the same paths that was begun a moment ago; used where it is what would be
            looked at now. It stays the caller's to close.

    Raises:
        SourceError: none of the paths is there, or no recovery point could be had and live
            files are not allowed.
        AlreadyRunning: the set is being backed up by another process.
        Cancelled, StorageError, RepositoryError: nothing was committed; whatever was
            stored will not be read or sent again.
    """
    steps = _Steps(progress, request.clock)
    with steps.step(REQUEST) as (figures, messages):
        roots, missing = choose_roots(request.paths)
        figures["paths"] = len(roots)
        messages += [f"{quoted_path(path)} is left out: {reason}" for path, reason in missing]
    with open_scan_state(repository.id, request.backup_set) as state:
        session = repository.begin("backup", request.backup_set)
        try:
            backup = _Backup(repository, request, progress, steps, state, session, ahead)
            try:
                return backup.run(roots, missing)
            except BackstayError:
                backup.keep_progress()
                raise
        finally:
            session.close()


class _Backup:
    """One run, from the type to the commit."""

    def __init__(
        self,
        repository: Repository,
        request: BackupRequest,
        progress: Progress,
        steps: _Steps,
        state: ScanState,
        session: WritingSession,
        ahead: ListingAhead | None,
    ) -> None:
        self._ahead = ahead
        self._repository = repository
        self._request = request
        self._progress = progress
        self._steps = steps
        self._state = state
        self._session = session
        self._type: BackupType | None = None
        self._crashed: list[bytes] = []

    def run(self, roots: list[SourceRoot], missing: list[tuple[bytes, str]]) -> BackupOutcome:
        """Steps 2 to 6, then the commit."""
        decided = self._decide_type()
        frozen: FrozenSource | None = None
        scan: ScanResult | None = None
        try:
            with self._steps.step(RECOVERY_POINT) as (figures, messages):
                frozen = freeze(
                    roots, allow_live=self._request.allow_live, cross_mounts=self._request.cross_mounts
                )
                messages += frozen.messages
                capture = self._capture(frozen, decided)
                scan = capture.scan()
                figures |= {"files": scan.found.files, "folders": scan.found.folders}
                figures |= {"excluded": scan.found.excluded, "problems": len(scan.problems)}
                messages += [f"{quoted_path(path)} is another filesystem" for path in scan.not_crossed]
            with self._steps.step(ESTIMATE) as (figures, _):
                figures |= estimate(scan.found, self._state.facts).figures()
            with self._steps.step(TRANSMIT) as (figures, messages):
                captured = capture.transmit(scan, figures)
                messages += captured.messages
        finally:
            with self._steps.step(CLEAN_UP, whatever_happened=True) as (_, messages):
                if frozen is not None:
                    messages += frozen.release()
                if scan is not None:
                    scan.spool.close()
        gone = [Problem(path, reason, int(Grade.UNREADABLE)) for path, reason in missing]
        return self._commit(decided, captured, gone + captured.problems)

    def _capture(self, frozen: FrozenSource, decided: BackupType) -> Capture:
        return Capture(
            frozen,
            rule=self._request.rule,
            cross_mounts=self._request.cross_mounts,
            state=self._state,
            trusted=decided.trusted,
            packer=self._session.packer,
            id_key=self._repository.secrets.id_key,
            progress=self._progress,
            tick=self._tick,
            ahead=self._ahead,
        )

    def _decide_type(self) -> BackupType:
        with self._steps.step(TYPE) as (_, messages):
            decided = decide_type(
                self._repository, self._state, self._request.file_server, self._request.backup_set
            )
            messages += [f"{decided.type}: {decided.reason}"]
            if decided.latest is not None and decided.is_lost:
                lost = (
                    f"the manifest of restore point {decided.latest.short_id}, the latest of this set, "
                    "is lost or damaged: it cannot be restored; the next one is committed after the gap"
                )
                messages.append(lost)
                self._progress.message(lost)
            facts = self._state.facts
            facts.base, facts.epoch = decided.base, decided.epoch
            # The lock on the scan state is ours, so whoever left these sessions open is dead.
            self._crashed = facts.open_sessions
            facts.open_sessions = [*facts.open_sessions, self._session.id]
            facts.collections, facts.damages = decided.collections, decided.damages
            # Should this process die, the next one knows whose session is to be ended.
            self._state.commit()
            self._type = decided
            return decided

    def _tick(self) -> None:
        if self._session.keep_alive():
            self._checkpoint()

    def _checkpoint(self) -> None:
        self._session.checkpoint()
        self._keep_state()

    def _keep_state(self) -> None:
        """Remember how far it got; everything that was put is durable and indexed."""
        facts = self._state.facts
        for crashed in self._crashed:
            self._session.end_crashed(crashed)
        facts.open_sessions = [session for session in facts.open_sessions if session not in self._crashed]
        self._crashed = []
        facts.runs = sorted(self._session.runs)
        self._state.commit()

    def keep_progress(self) -> None:
        """After a failure: index what is durable, so that the next backup goes on from there."""
        try:
            self._session.abandon()
        except BackstayError:
            # What is remembered since the last checkpoint may refer to what was not stored.
            self._state.roll_back()
            self._state.commit()
        else:
            with suppress(BackstayError):
                self._keep_state()

    def _commit(self, decided: BackupType, captured: Captured, problems: list[Problem]) -> BackupOutcome:
        put = self._session.put
        problem_lists = put_problems(problems, put)
        self._session.packer.flush()
        latest, stored = decided.latest, self._session.packer.figures
        manifest = Manifest(
            version=1,
            repository=self._repository.id,
            file_server=self._request.file_server,
            backup_set=self._request.backup_set,
            sequence=latest.sequence + 1 if latest else 1,
            previous=latest.id if latest else b"",
            session=self._session.id,
            time_ns=self._request.clock(),
            type=decided.type,
            root=captured.root,
            details=b"",
            totals=captured.totals,
            problems=len(problems),
            read_bytes=captured.read_bytes,
            new_bytes=stored.new_bytes,
            stored_bytes=stored.stored_bytes,
            software=backstay.__version__,
        )
        details = Details(
            1,
            manifest,
            self._request.paths,
            self._request.rule_text,
            self._steps.records,
            problem_lists,
        )
        point = self._session.commit(msgspec.structs.replace(manifest, details=put_details(details, put)))
        self._state.facts.base, self._state.facts.open_sessions = point.id, []
        self._keep_state()
        return BackupOutcome(point, problems, self._steps.records)
