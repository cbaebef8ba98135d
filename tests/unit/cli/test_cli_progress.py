"""Progress: what it costs the work, and what it shows."""

import os
import signal
import time

import pytest

from backstay.cli.output import Output
from backstay.cli.progress import Watcher, figures_text, watched
from backstay.domain.errors import Cancelled
from backstay.repository.details import StepRecord


class _Recorder:
    """A display that remembers."""

    period = 0.01

    def __init__(self):
        self.moments = []

    def step_started(self, name):
        """Nothing."""

    def step_ended(self, step):
        """Nothing."""

    def moment(self, moment):
        """Remember."""
        self.moments.append(moment)

    def message(self, text):
        """Nothing."""

    def close(self):
        """Nothing."""


def test_a_call_costs_less_than_two_microseconds():
    """The work calls in once a file: a million files must not cost seconds."""
    watcher = Watcher(_Recorder())
    watcher.step_started("transmit")
    best = min(_seconds_for(watcher, 20_000) for _ in range(5))
    watcher.close()
    assert best / 20_000 < 2e-6


def _seconds_for(watcher, calls):
    call = watcher.transmitting
    started = time.perf_counter()
    for number in range(calls):
        call(number, number, b"path")
    return time.perf_counter() - started


def test_the_display_sees_what_the_work_left():
    """A moment carries the last values, and what the estimate announced for the step after it."""
    display = _Recorder()
    watcher = Watcher(display)
    watcher.step_started("estimate")
    figures = {"files": 9, "bytes": 90, "changed_files": 4, "changed_bytes": 40}
    watcher.step_ended(StepRecord("estimate", "done", 0, 1, figures, []))
    watcher.step_started("transmit")
    watcher.transmitting(2, 20, b"x")
    deadline = time.monotonic() + 5
    while not display.moments and time.monotonic() < deadline:
        time.sleep(0.005)
    watcher.close()
    last = display.moments[-1]
    assert (last.step, last.files, last.size, last.path) == ("transmit", 2, 20, b"x")
    assert (last.expected_files, last.expected_size) == (4, 40)


def test_a_signal_ends_the_job_where_it_can_stop(capsys):
    """The first signal raises Cancelled from the next call; afterwards the old handlers are back."""
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Cancelled), watched(Output()) as progress:
        os.kill(os.getpid(), signal.SIGTERM)
        progress.scanning(1, 1, b"x")
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_second_signal_does_not_wait():
    """Whoever signals twice is not kept waiting."""
    with pytest.raises(KeyboardInterrupt), watched(Output()):
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(1)


def test_figures_in_words():
    """Counts, sizes and times of a step, each with its unit."""
    figures = {"files": 1, "bytes": 2048, "changed_files": 0, "changed_bytes": 0, "seconds": 2.5}
    text = figures_text(StepRecord("estimate", "done", 0, 1, figures, []))
    assert text == "1 file, 2.0 KiB, to read 0 files, 0 B, about 2.5 s"
