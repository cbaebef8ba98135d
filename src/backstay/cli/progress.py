"""What a running backup or restore shows: its steps, and now and then how far it is.

The work calls in once a file, so that must cost nothing: it only leaves three values. A
thread looks at them when it is time to show something.
"""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Protocol

from backstay.cli.output import Output, path_fields
from backstay.cli.text import counted, seconds, shown, size
from backstay.domain.errors import Cancelled
from backstay.domain.time_left import TimeLeft
from backstay.repository.details import StepRecord
from backstay.system.host import ENDING_SIGNALS, alarm_after

_PLAIN_SECONDS = 10.0
_JSON_SECONDS = 1.0
_LOOK_SECONDS = 0.5
"""However seldom something is shown: how fast the work is must be known before that."""
_PATIENCE_SECONDS = 5
"""How long a cancelled job may take to come to an orderly end."""


@dataclass(frozen=True)
class Moment:
    """How far a step is.

    Attributes:
        elapsed: seconds since the step began.
        files, size: so far; the size in bytes.
        expected_files, expected_size: what the estimate announced, or 0.
        seconds_left: as TimeLeft tells; None where nothing can be said yet.
    """

    step: str
    elapsed: float
    files: int
    size: int
    path: bytes
    expected_files: int = 0
    expected_size: int = 0
    seconds_left: float | None = None

    @property
    def bytes_per_second(self) -> float:
        """The mean rate of the step."""
        return self.size / self.elapsed if self.elapsed > 0 else 0.0


class Display(Protocol):
    """One way of showing progress. `moment` is called by another thread, never while another method runs."""

    period: float
    """Seconds between two calls of `moment`."""

    def step_started(self, name: str) -> None:
        """A step has begun."""

    def step_ended(self, step: StepRecord) -> None:
        """A step has ended."""

    def moment(self, moment: Moment) -> None:
        """How far the current step is."""

    def message(self, text: str) -> None:
        """A remark."""

    def close(self) -> None:
        """Nothing more comes."""


class Watcher:
    """Listens to a job, as the Progress of a backup or of a restore, and keeps a display up to date."""

    def __init__(self, display: Display) -> None:
        self._display = display
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._step = ""
        self._started = 0.0
        self._files = self._size = 0
        self._path = b""
        self._expected = (0, 0)
        self._time_left = TimeLeft(0, 0)
        self._phase_ns = 0
        self._thread = threading.Thread(target=self._look, name="progress", daemon=True)
        self._thread.start()
        self.cancelled = False

    def step_started(self, name: str) -> None:
        """As Progress.step_started."""
        self._check()
        with self._lock:
            self._files, self._size, self._path = 0, 0, b""
            self._step, self._started = name, time.monotonic()
            self._time_left = TimeLeft(*self._expected)
            self._display.step_started(name)

    def step_ended(self, step: StepRecord) -> None:
        """As Progress.step_ended."""
        with self._lock:
            self._step = ""
            # An estimate speaks of the step that follows.
            announced = step.figures.get("changed_files", 0), step.figures.get("changed_bytes", 0)
            self._expected = int(announced[0]), int(announced[1])
            self._display.step_ended(step)

    def scanning(self, files: int, size: int, path: bytes) -> None:
        """As Progress.scanning."""
        self._files, self._size, self._path = files, size, path
        if self.cancelled:
            self._check()

    transmitting = scanning
    advanced = scanning

    def message(self, text: str) -> None:
        """As Progress.message."""
        with self._lock:
            self._display.message(text)

    def phase_started(self, name: str, files: int, size: int) -> None:
        """As restore.progress.Progress.phase_started."""
        self._expected = files, size
        self._phase_ns = time.time_ns()
        self.step_started(name)

    def phase_ended(self, name: str, seconds: float) -> None:
        """As restore.progress.Progress.phase_ended."""
        known = self._expected[1] > 0
        figures: dict[str, int | float] = {"files": self._files, "bytes": self._size} if known else {}
        ended = self._phase_ns + int(seconds * 1e9)
        self.step_ended(StepRecord(name, "done", self._phase_ns, ended, figures, []))

    def close(self) -> None:
        """Stop looking, and let the display end."""
        self._ended.set()
        self._thread.join()
        self._display.close()

    def _check(self) -> None:
        if self.cancelled:
            raise Cancelled("cancelled", hint="what was stored so far is kept, and will not be sent again")

    def _look(self) -> None:
        shown = time.monotonic()
        while not self._ended.wait(min(self._display.period, _LOOK_SECONDS)):
            with self._lock:
                if not self._step:
                    continue
                now = time.monotonic()
                elapsed, files, size = now - self._started, self._files, self._size
                left = self._time_left.at(elapsed, files, size)
                # The wait may end a moment early.
                if now - shown >= 0.95 * self._display.period:
                    shown = now
                    self._display.moment(
                        Moment(self._step, elapsed, files, size, self._path, *self._expected, left)
                    )


@contextmanager
def watched(output: Output) -> Iterator[Watcher]:
    """Shows a job on `output`, and lets Ctrl-C or a termination signal end it in order.

    The first signal asks the job to stop where it can; a second one, or no answer within a
    few seconds, interrupts it where it stands, which a repository survives as it survives a crash.
    """
    display: Display
    if output.as_json:
        display = JsonDisplay(output)
    elif output.is_terminal:
        from backstay.cli.live_display import LiveDisplay

        display = LiveDisplay(output)
    else:
        display = PlainDisplay(output)
    watcher = Watcher(display)

    def stop(number: int, frame: FrameType | None) -> None:
        if watcher.cancelled:
            raise KeyboardInterrupt
        watcher.cancelled = True
        alarm_after(_PATIENCE_SECONDS)

    before = [(number, signal.signal(number, stop)) for number in ENDING_SIGNALS]
    try:
        yield watcher
    finally:
        alarm_after(0)
        for number, handler in before:
            signal.signal(number, handler)
        watcher.close()


class PlainDisplay:
    """One line a step, and one every ten seconds."""

    period = _PLAIN_SECONDS

    def __init__(self, output: Output) -> None:
        self._output = output

    def step_started(self, name: str) -> None:
        """Nothing: its line comes at the end."""

    def step_ended(self, step: StepRecord) -> None:
        """The step's line, and its messages."""
        for line in step_lines(step):
            self._output.line(line)

    def moment(self, moment: Moment) -> None:
        """How far it is; nothing where nothing is counted."""
        if not (moment.files or moment.size or moment.path):
            return
        left = f", about {seconds(int(moment.seconds_left * 1e9))} left" if moment.seconds_left else ""
        self._output.line(
            f"  {moment.step}: {counted(moment.files, 'file')}, {size(moment.size)}, "
            f"{size(moment.bytes_per_second)}/s{left}: {shown(moment.path)}".removesuffix(": ")
        )

    def message(self, text: str) -> None:
        """The remark on a line of its own."""
        self._output.line(f"  {shown(text)}")

    def close(self) -> None:
        """Nothing."""


class JsonDisplay:
    """JSON lines: each step's begin and end, and once a second how far it is."""

    period = _JSON_SECONDS

    def __init__(self, output: Output) -> None:
        self._output = output

    def step_started(self, name: str) -> None:
        """`step_started`."""
        self._output.event("step_started", {"step": name, "time_ns": time.time_ns()})

    def step_ended(self, step: StepRecord) -> None:
        """`step_ended`."""
        fields = {
            "step": step.name,
            "state": step.state,
            "started_ns": step.started_ns,
            "ended_ns": step.ended_ns,
            "figures": step.figures,
            "messages": step.messages,
        }
        self._output.event("step_ended", fields)

    def moment(self, moment: Moment) -> None:
        """`progress`."""
        fields = {
            "step": moment.step,
            "files": moment.files,
            "bytes": moment.size,
            "bytes_per_second": round(moment.bytes_per_second),
            "seconds_left": moment.seconds_left,
            **path_fields(moment.path),
        }
        self._output.event("progress", fields)

    def message(self, text: str) -> None:
        """`message`."""
        self._output.event("message", {"text": text})

    def close(self) -> None:
        """Nothing."""


def step_lines(step: StepRecord) -> list[str]:
    """A step that has ended: its line, then its messages, indented."""
    took = seconds(step.ended_ns - step.started_ns)
    head = f"{step.state:<9} {step.name:<21} {took:>10}   {figures_text(step)}".rstrip()
    return [head, *(f"            {shown(message)}" for message in step.messages)]


_WORDS = {
    "bytes": "{}",
    "changed_files": "to read {}",
    "changed_bytes": "{}",
    "new_bytes": "{} new",
    "stored_bytes": "{} stored",
    "seconds": "about {}",
}


def figures_text(step: StepRecord) -> str:
    """A step's figures in words."""
    parts = []
    for name, value in step.figures.items():
        if name == "seconds":
            amount = seconds(int(value * 1e9))
        elif name.endswith("bytes"):
            amount = size(value)
        elif value or name.endswith("files"):
            noun = "file" if name.endswith("files") else name.replace("_", " ").removesuffix("s")
            amount = counted(int(value), noun)
        else:
            continue
        parts.append(_WORDS.get(name, "{}").format(amount))
    return ", ".join(parts)
