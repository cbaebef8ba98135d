"""Running the tools of a volume manager: the one seam through which providers reach them."""

import os
import subprocess
from collections.abc import Callable, Sequence
from typing import NamedTuple

from backstay.domain.errors import SourceError

SECONDS = 120.0
"""A volume manager waits for its volumes to be quiet; longer than this it hangs."""


class Answer(NamedTuple):
    """What a command said: its exit code, standard output, and standard error."""

    code: int
    output: str
    complaint: str


Run = Callable[[Sequence[str], float], Answer]
"""Runs a command for at most so many seconds; raises OSError, subprocess.TimeoutExpired."""


def run_command(command: Sequence[str], seconds: float) -> Answer:
    """Run a command in plain English, without input. A `Run`."""
    path = os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin"
    done = subprocess.run(
        command,
        capture_output=True,
        stdin=subprocess.DEVNULL,
        text=True,
        errors="surrogateescape",
        timeout=seconds,
        env={**os.environ, "LC_ALL": "C", "PATH": path},
        check=False,
    )
    return Answer(done.returncode, done.stdout, done.stderr)


def ask(run: Run, command: Sequence[str], seconds: float = SECONDS) -> Answer:
    """Run a command, whatever it answers.

    Raises:
        SourceError: it is not installed, cannot be run, or does not end.
    """
    try:
        return run(command, seconds)
    except FileNotFoundError as error:
        raise SourceError(
            f"the command {command[0]} is not there", hint="install the tools of the volume manager"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise SourceError(f"{command[0]} did not end within {seconds:.0f} seconds") from error
    except OSError as error:
        raise SourceError(f"{command[0]} cannot be run: {(error.strerror or '').lower()}") from error


def reason(answer: Answer) -> str:
    """What a failed command complained of, in one line."""
    lines = [line.strip() for line in answer.complaint.splitlines() if line.strip()]
    told = [line for line in lines if not line.startswith(("WARNING", "File descriptor"))]
    return "; ".join(told or lines) or f"exit code {answer.code}"
