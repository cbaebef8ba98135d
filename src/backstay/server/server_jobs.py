"""The jobs that servers run: verify, prune, drill. The work is done by a worker process, one for each job.

This process holds the job's lease as long as the worker is alive, so a server that dies loses it: the worker
ends with it, the job is given up, and the schedule asks for another.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import structlog
from sqlalchemy.orm import Session

from backstay.domain.errors import BackstayError, Forbidden
from backstay.domain.job import JobKind
from backstay.protocol.report import Outcome, ProgressReport, Report, StepReport
from backstay.server import job_queue, reconcile, retention
from backstay.server.control import Control
from backstay.server.server_job_results import conclude, request_of
from backstay.server.tables import JobRow, RepositoryRow
from backstay.server.worker_process import WorkerProcess

_REPORT_SECONDS = 2.0
_log = structlog.get_logger()


def run_next(control: Control) -> bool:
    """Run the next job that waits for a server; False where none does, or this one ends. A chore."""
    if control.stopping.is_set():
        return False
    with control.database.begin() as db:
        job = job_queue.lease_for_server(db, control.instance, control.clock())
        if job is None:
            return False
        run = _Run(control, job.id, job.lease_epoch, JobKind(job.kind), str(job.repository_id))
    control.wakeups.wake()
    run.run()
    control.wakeups.wake()
    return True


@dataclass
class _Run:
    """One job, from its lease to its end."""

    control: Control
    job_id: int
    epoch: int
    kind: JobKind
    repository_id: str
    steps: list[StepReport] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)
    progress: ProgressReport = field(default_factory=ProgressReport)

    def run(self) -> None:
        """Never raises what is the job's own failure: that becomes its outcome."""
        try:
            outcome = self._work()
        except Forbidden as error:
            _log.warning("job lost", job=self.job_id, what=error.what)
            return
        except BackstayError as error:
            outcome = self._failed(error.what, error.hint, retryable=error.retryable)
        except Exception as error:  # noqa: BLE001  a defect must not leave a job without an end
            _log.error("defect in a job", job=self.job_id, exc_info=error)
            outcome = self._failed(
                f"sorry, this is a defect of Backstay ({type(error).__name__})",
                "the server's log says where it happened; please report it",
            )
        self._finish(outcome)

    def _now(self) -> int:
        return int(self.control.clock().timestamp() * 1e9)

    def _held(self, db: Session) -> JobRow:
        return job_queue.held_job(db, self.job_id, self.epoch, self.control.instance)

    def _work(self) -> Outcome:
        control = self.control
        repository = control.repositories.get(self.repository_id)
        with control.database.begin() as db:
            location = db.get_one(RepositoryRow, self.repository_id).location
            job = job_queue.get_job(db, self.job_id)
            request = request_of(db, job)
            started = job.started_at or control.clock()
        reason = self._report()
        if reason:
            return self._outcome("cancelled", reason=reason)
        cache = control.settings.folder / "cache"
        with WorkerProcess(repository, location, cache, self.kind.value, request) as worker:
            return self._follow(worker, request | {"started_at": started.isoformat()})

    def _follow(self, worker: WorkerProcess, request: Mapping[str, Any]) -> Outcome:
        """Answer the worker, and report for it, until it has ended."""
        reported, cancelled = 0.0, ""
        while True:
            message = worker.receive(_REPORT_SECONDS / 4)
            if message is None:
                hint = "look at the server's log; the job can be started again at any time"
                return self._failed("the worker process ended before its work was done", hint)
            match message["kind"]:
                case "progress":
                    self._step(message)
                case "message":
                    self.messages.append(message["text"])
                case "ask":
                    worker.answer(self._answer(message["question"], message["value"], request))
                case "done":
                    self._step({"step": "conclude", "done": 0, "total": 0})
                    return self._concluded(request, message["result"])
                case "cancelled":
                    return self._outcome("cancelled", reason=message["reason"])
                case "failed":
                    return self._failed(message["what"], message["hint"], retryable=message["retryable"])
            if self.control.stopping.is_set() and not cancelled:
                cancelled = "the server process that ran it was stopped"
                worker.cancel(cancelled)
            if time.monotonic() - reported >= _REPORT_SECONDS:
                reported = time.monotonic()
                reason = self._report()
                if reason and not cancelled:
                    cancelled = reason
                    worker.cancel(reason)

    def _step(self, message: Mapping[str, Any]) -> None:
        name = message["step"]
        if not self.steps or self.steps[-1].name != name:
            self._end_step("done")
            self.steps.append(StepReport(name=name, state="running", started_ns=self._now()))
        self.progress = ProgressReport(step=name, bytes=message["done"], expected_bytes=message["total"])

    def _end_step(self, state: str) -> None:
        if self.steps and self.steps[-1].state == "running":
            ended = {"state": state, "ended_ns": self._now()}
            self.steps[-1] = self.steps[-1].model_copy(update=ended)

    def _report(self) -> str:
        """Renew the lease. Returns why the job is to stop, or nothing. Raises Forbidden: the job is lost."""
        report = Report(
            epoch=self.epoch, steps=self.steps, progress=self.progress, messages=self.messages[:1000]
        )
        with self.control.database.begin() as db:
            reply = job_queue.report(db, self._held(db), report, self.control.clock())
        self.messages = self.messages[1000:]
        self.control.wakeups.wake()
        return reply.reason if reply.verdict == "cancel" else ""

    def _answer(self, question: str, value: Any, request: Mapping[str, Any]) -> Any:
        now = self.control.clock()
        if question == "pack":
            with self.control.database.begin() as db:
                self._held(db)
                reconcile.add_pack(db, self.repository_id, value[0], value[1], now)
            return True
        if request.get("dry_run"):
            with self.control.database.read() as db:
                return retention.would_expire(db, self.repository_id, value, now)
        with self.control.database.begin() as db:
            self._held(db)
            return retention.expire(db, self.repository_id, value, now)

    def _concluded(self, request: Mapping[str, Any], result: Mapping[str, Any]) -> Outcome:
        self._report()
        found = conclude(self.control, self.kind, self.repository_id, request, result, self._report)
        self.messages += found.messages
        return self._outcome(
            found.state,
            reason=found.reason,
            hint=found.hint,
            retryable=False,
            figures=found.figures,
            problems=found.problems,
            problem_count=found.problem_count,
        )

    def _failed(self, what: str, hint: str = "", *, retryable: bool = False) -> Outcome:
        return self._outcome("failed", reason=what, hint=hint, retryable=retryable)

    def _outcome(self, state: str, **fields: Any) -> Outcome:
        self._end_step("done" if state == "succeeded" else state)
        return Outcome.model_validate(
            {"epoch": self.epoch, "state": state, "steps": self.steps, "messages": self.messages[:1000]}
            | fields
        )

    def _finish(self, outcome: Outcome) -> None:
        now: datetime = self.control.clock()
        try:
            with self.control.database.begin() as db:
                job_queue.finish(db, self._held(db), outcome, now)
        except Forbidden as error:
            _log.warning("job lost", job=self.job_id, what=error.what)
