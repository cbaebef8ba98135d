"""The agent's life: ask for work, carry it out, tell how it went; again and again until it is stopped."""

import random
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import structlog

import backstay
from backstay.agent import machine
from backstay.agent.inventory import take_inventory
from backstay.agent.recent_log import RECENT
from backstay.agent.reporter import Reporter
from backstay.agent.repository import error_line
from backstay.agent.settings import AgentSettings
from backstay.domain.errors import (
    AlreadyRunning,
    BackstayError,
    Cancelled,
    Forbidden,
    NotSignedIn,
    ServerUnreachable,
)
from backstay.protocol.client import AgentClient
from backstay.protocol.report import Outcome
from backstay.protocol.ticket import BackupTicket, Greeting, LookTicket, RestoreTicket
from backstay.system.calls import os
from backstay.system.host import lock_file

MOST_JOBS = 2
"""So many jobs run at once, a restore beside a backup among them."""

_POLL_SECONDS = 25.0
_BUSY_POLL_SECONDS = 5.0
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 20.0
_STOP_SECONDS = 20.0
_INVENTORY_SECONDS = 86_400.0
_OUTCOME_PAUSE = 5.0

_log = structlog.get_logger()

Ticket = BackupTicket | RestoreTicket


def run(folder: Path, stop: threading.Event, own_folders: Sequence[Path] = ()) -> None:
    """Be the agent of this folder until `stop` is set; then end what runs in order, as aborted.

    Args:
        own_folders: folders of Backstay on this machine that no backup takes in.

    Raises:
        UsageError: not enrolled.
        AlreadyRunning: another process is the agent of this folder.
        Forbidden: another agent has taken this one's place.
        NotSignedIn: the credential was revoked.
    """
    settings = AgentSettings.load(folder)
    RECENT.listen()
    os.environ.setdefault("BACKSTAY_STATE", str(folder / "state"))
    os.environ.setdefault("BACKSTAY_CACHE", str(folder / "cache"))
    with _only_one(folder):
        _sweep()
        client = AgentClient(
            settings.url, settings.certificate, (settings.file_server_id, settings.secret), machine.INSTANCE
        )
        try:
            _Daemon(settings, client, stop, [folder, *own_folders]).run()
        finally:
            client.close()


@contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            lock_file(descriptor)
        except BlockingIOError:
            raise AlreadyRunning(
                f"an agent is running in {folder} already",
                hint="stop it first: systemctl stop backstay-agent",
            ) from None
        yield
    finally:
        os.close(descriptor)


def _sweep() -> None:
    """Delete recovery points that a crash left behind."""
    from backstay.backup.freeze import sweep_left_over

    for message in sweep_left_over():
        _log.info("swept", what=message)


class _Daemon:
    def __init__(
        self, settings: AgentSettings, client: AgentClient, stop: threading.Event, own_folders: Sequence[Path]
    ) -> None:
        self._settings = settings
        self._client = client
        self._stop = stop
        self._own_folders = own_folders
        self._jobs: dict[int, threading.Thread] = {}
        self._looking: threading.Thread | None = None
        self._freed = threading.Event()
        self._inventory_due = 0.0
        self._known = False
        self._fenced_off: BackstayError | None = None

    def run(self) -> None:
        """Until stopped."""
        _log.info("agent started", file_server=self._settings.name, server=self._settings.url)
        # In a thread of its own, for the server holds the question open: a stop must not wait for the answer.
        threading.Thread(target=self._ask_on, name="lease", daemon=True).start()
        self._stop.wait()
        ends = time.monotonic() + _STOP_SECONDS
        for thread in list(self._jobs.values()):
            thread.join(max(0.0, ends - time.monotonic()))
        if self._fenced_off is not None:
            raise self._fenced_off

    def _ask_on(self) -> None:
        pause = _FIRST_PAUSE
        while not self._stop.is_set():
            try:
                self._ask()
                self._tell_inventory()
                pause = _FIRST_PAUSE
            except (Forbidden, NotSignedIn) as error:
                self._fenced_off = error
                self._stop.set()
            except BackstayError as error:
                # Whatever else it is, an agent that is gone could not tell when it has passed.
                _log.warning("no work to be had", what=error.what, hint=error.hint)
                self._stop.wait(pause * (0.5 + random.random()))
                pause = min(pause * 2, _LONGEST_PAUSE)

    def _ask(self) -> None:
        self._jobs = {job: thread for job, thread in self._jobs.items() if thread.is_alive()}
        room = MOST_JOBS - len(self._jobs)
        asked_ns = time.time_ns()
        told = RECENT.take()
        greeting = Greeting(
            instance=machine.INSTANCE,
            first=not self._known,
            machine_id=machine.machine_id(),
            boot_id=machine.boot_id(),
            system="windows" if sys.platform == "win32" else "linux",
            version=backstay.__version__,
            time_ns=asked_ns,
            busy=list(self._jobs),
            room=room,
            looks=True,
            log=told,
            # The first question is answered at once: then the server knows who speaks.
            wait_seconds=0 if room <= 0 or not self._inventory_due else _POLL_SECONDS,
        )
        try:
            reply = self._client.lease(greeting)
        except BackstayError:
            RECENT.give_back(told)
            raise
        self._known = True
        ahead_ns = reply.server_time_ns - time.time_ns()
        if isinstance(reply.ticket, LookTicket):
            self._look(reply.ticket)
        elif reply.ticket is not None and not self._stop.is_set():
            self._start(reply.ticket, ahead_ns)
        elif room <= 0:
            self._freed.wait(_BUSY_POLL_SECONDS)
            self._freed.clear()

    def _tell_inventory(self) -> None:
        if time.monotonic() < self._inventory_due:
            return
        self._client.inventory(take_inventory())
        self._inventory_due = time.monotonic() + _INVENTORY_SECONDS

    def _look(self, ticket: LookTicket) -> None:
        """Answer a question about the disk, one at a time: a disk that hangs holds up nothing else."""
        if self._looking is not None and self._looking.is_alive():
            _log.warning("no look: the one before is not done", look=ticket.job)
            return
        self._looking = threading.Thread(target=self._tell_look, args=(ticket,), name="look", daemon=True)
        self._looking.start()

    def _tell_look(self, ticket: LookTicket) -> None:
        from backstay.agent.looking import look

        _log.info("asked to look at the disk", path=os.fsdecode(ticket.path))
        try:
            self._client.outcome(ticket.job, look(ticket, self._own_folders))
        except BackstayError as error:
            # Nobody waits for it long enough for another attempt.
            _log.warning("look not told", what=error_line(error))

    def _start(self, ticket: Ticket, ahead_ns: int) -> None:
        thread = threading.Thread(
            target=self._carry_out, args=(ticket, ahead_ns), name=f"job-{ticket.job}", daemon=True
        )
        self._jobs[ticket.job] = thread
        thread.start()

    def _carry_out(self, ticket: Ticket, ahead_ns: int) -> None:
        log = _log.bind(job=ticket.job, kind=ticket.kind)
        log.info("job started")
        reporter = Reporter(self._client, ticket.job, ticket.epoch, self._stop.is_set, ahead_ns)
        try:
            outcome = self._do(ticket, reporter)
        finally:
            reporter.close()
        log.info("job ended", state=outcome.state, reason=outcome.reason)
        if reporter.verdict != "lost":
            self._tell(ticket, outcome)
        self._freed.set()

    def _do(self, ticket: Ticket, reporter: Reporter) -> Outcome:
        try:
            if isinstance(ticket, BackupTicket):
                from backstay.agent.backup_job import back_up

                return back_up(self._client, ticket, reporter, self._own_folders)
            from backstay.agent.restore_job import restore

            return restore(self._client, ticket, reporter)
        except Cancelled as error:
            return _failure(ticket, reporter, "cancelled", reporter.reason or error.what, error.hint)
        except BackstayError as error:
            return _failure(ticket, reporter, "failed", error.what, error.hint)
        except OSError as error:
            what = f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror or error)
            return _failure(ticket, reporter, "failed", what, "check that it is there and may be used")
        except Exception as error:  # noqa: BLE001  a defect must end as a failed job, not as a silent one
            _log.error("defect", job=ticket.job, exc_info=error)
            what = f"sorry, this is a defect of Backstay ({type(error).__name__}: {error})"
            return _failure(ticket, reporter, "failed", what, "the agent's log says where; please report it")

    def _tell(self, ticket: Ticket, outcome: Outcome) -> None:
        """Tell how it ended, as long as it takes: a restore point that is committed must be known."""
        while True:
            try:
                reply = self._client.outcome(ticket.job, outcome)
                _log.info("outcome told", job=ticket.job, state=reply.state)
                return
            except ServerUnreachable as error:
                _log.warning("outcome not told yet", job=ticket.job, what=error.what)
                if self._stop.wait(_OUTCOME_PAUSE):
                    return
            except BackstayError as error:
                _log.warning("outcome refused", job=ticket.job, what=error_line(error))
                return


def _failure(ticket: Ticket, reporter: Reporter, state: str, reason: str, hint: str) -> Outcome:
    return Outcome.model_validate(
        {
            "epoch": ticket.epoch,
            "state": state,
            "reason": reason[:4000],
            "hint": hint[:4000],
            "steps": reporter.steps(),
            "messages": reporter.take_messages(),
        }
    )
