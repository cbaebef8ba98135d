"""Runs whole processes and measures them: wall time, processor time, peak memory."""

import os
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

_TAIL_BYTES = 4000


@dataclass(frozen=True)
class Command:
    """A program to run: its arguments, what it needs in its environment, and where it is run."""

    arguments: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    folder: Path | None = None


@dataclass(frozen=True)
class Measured:
    """One run: seconds of wall, user and system time, and the greatest resident memory in bytes.

    As wait4(2) tells them. Of a program that starts others, processor time counts those
    that it waited for, and memory is that of the largest. Linux counts the resident
    memory of the process that started the program as its least.
    """

    wall: float
    user: float
    system: float
    peak_memory: int


class RunFailed(Exception):
    """A program ended with another exit code than 0."""


def run(command: Command) -> Measured:
    """Run to the end, with the file systems synced before, so that nobody pays for another's writes.

    Raises:
        RunFailed: with the last lines that it wrote.
    """
    os.sync()
    with tempfile.TemporaryFile() as output:
        started = time.monotonic()
        process = subprocess.Popen(
            [str(argument) for argument in command.arguments],
            env={**os.environ, **command.environment},
            cwd=command.folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            process.terminate()
            process.wait()
            raise
        wall = time.monotonic() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            end = output.seek(0, os.SEEK_END)
            output.seek(max(0, end - _TAIL_BYTES))
            words = " ".join(map(str, command.arguments))
            text = output.read().decode(errors="replace")
            raise RunFailed(f"exit code {process.returncode} from: {words}\n{text}")
    return Measured(wall, usage.ru_utime, usage.ru_stime, usage.ru_maxrss * 1024)


def median_of(runs: Sequence[Measured]) -> Measured:
    """The median of each figure by itself."""
    return Measured(
        median(one.wall for one in runs),
        median(one.user for one in runs),
        median(one.system for one in runs),
        int(median(one.peak_memory for one in runs)),
    )
