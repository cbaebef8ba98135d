"""Tells the server how a job goes, and learns from the answers whether to go on.

The work calls in once a file, so that must cost nothing: it only leaves values. A thread sends them every two
seconds. While the server cannot be reached the work goes on; the storage's own patience decides for how long.
"""

import threading
import time
from collections.abc import Callable
from contextlib import suppress

import structlog

from backstay.agent.repository import error_line
from backstay.domain.errors import BackstayError, Cancelled, ServerUnreachable
from backstay.domain.time_left import TimeLeft
from backstay.protocol.client import AgentClient
from backstay.protocol.report import ProgressReport, Report, StepReport
from backstay.repository.details import StepRecord

PERIOD_SECONDS = 2.0
_CLOSE_SECONDS = 5.0

_log = structlog.get_logger()


class Reporter:
    """Listens to a backup or a restore, as their Progress, and reports.

    Args:
        client: the connection.
        job, epoch: what was leased.
        stopping: says that the agent is about to stop, so that the job must.
        server_ahead_ns: nanoseconds that the server's clock was ahead of ours at the lease.

    Attributes:
        verdict: why the job is to stop, or empty: "cancel", "lost", "stop".
    """

    def __init__(
        self,
        client: AgentClient,
        job: int,
        epoch: int,
        stopping: Callable[[], bool],
        server_ahead_ns: int,
    ) -> None:
        self._client = client
        self._job = job
        self._epoch = epoch
        self._stopping = stopping
        self._ahead_ns = server_ahead_ns
        self._lock = threading.Lock()
        self._steps: list[StepReport] = []
        self._messages: list[str] = []
        self._started = 0.0
        self._files = self._size = 0
        self._path = b""
        self._expected = (0, 0)
        self._time_left = TimeLeft(0, 0)
        self.verdict = ""
        self.reason = ""
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._loop, name=f"report-{job}", daemon=True)
        self._thread.start()

    def server_time_ns(self) -> int:
        """The server's clock, as far as its last answer tells."""
        return time.time_ns() + self._ahead_ns

    def step_started(self, name: str) -> None:
        """As Progress.step_started; the step counts as started even where the job is not to go on."""
        with self._lock:
            self._files, self._size, self._path, self._started = 0, 0, b"", time.monotonic()
            self._time_left = TimeLeft(*self._expected)
            self._steps.append(StepReport(name=name, state="running", started_ns=self.server_time_ns()))
        self.check()

    def step_ended(self, step: StepRecord) -> None:
        """As Progress.step_ended."""
        with self._lock:
            announced = step.figures.get("changed_files", 0), step.figures.get("changed_bytes", 0)
            self._expected = int(announced[0]), int(announced[1])
            self._steps[-1] = StepReport(
                name=step.name,
                state=step.state,
                started_ns=step.started_ns,
                ended_ns=step.ended_ns,
                figures=step.figures,
                messages=step.messages[:1000],
            )

    def scanning(self, files: int, size: int, path: bytes) -> None:
        """As Progress.scanning."""
        self._files, self._size, self._path = files, size, path
        if self.verdict or self._stopping():
            self.check()

    transmitting = scanning
    advanced = scanning

    def message(self, text: str) -> None:
        """As Progress.message."""
        with self._lock:
            self._messages.append(text)

    def phase_started(self, name: str, files: int, size: int) -> None:
        """As restore.progress.Progress.phase_started."""
        with self._lock:
            self._expected = files, size
        self.step_started(name)

    def phase_ended(self, name: str, seconds: float) -> None:
        """As restore.progress.Progress.phase_ended."""
        with self._lock:
            figures: dict[str, int | float] = {"files": self._files, "bytes": self._size}
            self._steps[-1] = self._steps[-1].model_copy(
                update={"state": "done", "ended_ns": self.server_time_ns(), "figures": figures}
            )

    def check(self) -> None:
        """Raises Cancelled where the job is not to go on."""
        if self._stopping() and not self.verdict:
            self.verdict, self.reason = "stop", "the agent was stopped"
        if self.verdict:
            raise Cancelled(self.reason or "cancelled", hint="what was stored so far is not sent again")

    def sleep(self, seconds: float) -> None:
        """Wait, but not on when the job is to stop. Raises Cancelled."""
        ends = time.monotonic() + seconds
        while (left := ends - time.monotonic()) > 0:
            self.check()
            time.sleep(min(left, 0.5))
        self.check()

    def steps(self) -> list[StepReport]:
        """All steps so far."""
        with self._lock:
            return list(self._steps)

    def take_messages(self) -> list[str]:
        """Messages that were not sent yet."""
        with self._lock:
            taken, self._messages = self._messages[:1000], self._messages[1000:]
            return taken

    def close(self) -> None:
        """Report no more; a report that is under way where nothing gets through is not waited for."""
        self._ended.set()
        self._thread.join(_CLOSE_SECONDS)

    def _loop(self) -> None:
        while not self._ended.wait(PERIOD_SECONDS):
            if self.verdict == "lost":
                return
            messages = self.take_messages()
            try:
                self._report(messages)
            except BackstayError as error:
                with self._lock:
                    self._messages = messages + self._messages
                if not isinstance(error, ServerUnreachable):
                    # Revoked, or replaced by another agent: nothing that is done here will count.
                    self.verdict, self.reason = "lost", error_line(error)
                with suppress(OSError):
                    _log.warning("report failed", job=self._job, what=error.what)

    def _report(self, messages: list[str]) -> None:
        reply = self._client.report(
            self._job,
            Report(epoch=self._epoch, steps=self.steps(), progress=self._progress(), messages=messages),
        )
        if reply.server_time_ns:
            self._ahead_ns = reply.server_time_ns - time.time_ns()
        if reply.verdict != "go_on":
            self.verdict, self.reason = reply.verdict, reply.reason

    def _progress(self) -> ProgressReport:
        with self._lock:
            if not self._steps or self._steps[-1].state != "running":
                return ProgressReport()
            elapsed = max(time.monotonic() - self._started, 1e-3)
            files, size = self._files, self._size
            return ProgressReport(
                step=self._steps[-1].name,
                files=files,
                bytes=size,
                expected_files=self._expected[0],
                expected_bytes=self._expected[1],
                bytes_per_second=size / elapsed,
                seconds_left=self._time_left.at(elapsed, files, size),
                path=self._path[:4096],
            )
