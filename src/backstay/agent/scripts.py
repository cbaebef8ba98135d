"""The policy's scripts, before and after a backup."""

import os
import subprocess
from collections.abc import Callable, Sequence

from backstay.domain.errors import SourceError
from backstay.domain.policy import Script
from backstay.system.host import end_group

_OUTPUT_KEPT = 2000


def run_scripts(
    scripts: Sequence[Script], environment: dict[str, str], tell: Callable[[str], None], when: str
) -> None:
    """Run scripts one after the other; each in a process group of its own, which its time limit ends.

    Args:
        environment: added to the agent's own.
        tell: called with how each went.
        when: "before" or "after", for messages.

    Raises:
        SourceError: one failed that is to stop the job.
    """
    for script in scripts:
        problem = _run(script, environment)
        name = script.command[0]
        if problem is None:
            tell(f"the script {name} {when} the backup is done")
            continue
        tell(f"the script {name} {when} the backup failed: {problem}")
        if script.failure_stops_job and when == "before":
            raise SourceError(
                f"the script {name} before the backup failed: {problem}",
                hint="mend the script, or let the policy go on without it",
            )


def _run(script: Script, environment: dict[str, str]) -> str | None:
    """Why it failed, in words, or None."""
    try:
        process = subprocess.Popen(
            script.command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, **environment},
            start_new_session=True,
        )
    except OSError as error:
        return f"it cannot be started: {error.strerror}"
    try:
        output, _ = process.communicate(timeout=script.time_limit.total_seconds())
    except subprocess.TimeoutExpired:
        end_group(process.pid)
        process.wait()
        return f"it took longer than {script.time_limit} and was ended"
    if process.returncode == 0:
        return None
    said = output.decode(errors="replace").strip()[-_OUTPUT_KEPT:]
    return f"it ended with {process.returncode}" + (f": {said}" if said else "")
