"""Jobs: their kinds, their states, and the only legal ways from one state to another.

    queued ──► waiting_for_agent ──► running ──► succeeded
       │               │                │  ├───► succeeded_with_warnings
       │               │                │  ├───► failed
       ├───────────────┴──► skipped     │  └───► aborted
       └──► failed · cancelled ◄────────┴─────► cancelled

`succeeded` means that every file was captured: green is never incomplete.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from backstay.domain.errors import JobStateError


class JobKind(StrEnum):
    """What a job does."""

    BACKUP = "backup"
    RESTORE = "restore"
    VERIFY = "verify"
    PRUNE = "prune"
    DRILL = "drill"

    @property
    def runs_on_agent(self) -> bool:
        """Whether an agent carries it out; the others are done by the server."""
        return self in {JobKind.BACKUP, JobKind.RESTORE}


class JobState(StrEnum):
    """Where a job is in its life."""

    QUEUED = "queued"
    WAITING_FOR_AGENT = "waiting_for_agent"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    SUCCEEDED_WITH_WARNINGS = "succeeded_with_warnings"
    FAILED = "failed"
    ABORTED = "aborted"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"

    @property
    def in_words(self) -> str:
        """As people read it."""
        return self.value.replace("_", " ")

    @property
    def ended(self) -> bool:
        """Whether nothing will change it any more."""
        return not TRANSITIONS[self]


TRANSITIONS: Final[Mapping[JobState, frozenset[JobState]]] = {
    JobState.QUEUED: frozenset(
        {
            JobState.WAITING_FOR_AGENT,
            JobState.RUNNING,
            JobState.FAILED,
            JobState.CANCELLED,
            JobState.SKIPPED,
        }
    ),
    JobState.WAITING_FOR_AGENT: frozenset(
        {JobState.RUNNING, JobState.FAILED, JobState.CANCELLED, JobState.SKIPPED}
    ),
    JobState.RUNNING: frozenset(
        {
            JobState.SUCCEEDED,
            JobState.SUCCEEDED_WITH_WARNINGS,
            JobState.FAILED,
            JobState.ABORTED,
            JobState.CANCELLED,
        }
    ),
    JobState.SUCCEEDED: frozenset(),
    JobState.SUCCEEDED_WITH_WARNINGS: frozenset(),
    JobState.FAILED: frozenset(),
    JobState.ABORTED: frozenset(),
    JobState.CANCELLED: frozenset(),
    JobState.SKIPPED: frozenset(),
}

OPEN_STATES: Final = frozenset(state for state in JobState if not state.ended)
GOOD_STATES: Final = frozenset({JobState.SUCCEEDED, JobState.SUCCEEDED_WITH_WARNINGS})


def check_transition(job: int, before: JobState, after: JobState) -> None:
    """Require that a job may go from one state to another.

    Raises:
        JobStateError: it may not; the job stays as it is.
    """
    if after not in TRANSITIONS[before]:
        raise JobStateError(
            f"job {job} is {before.in_words} and cannot become {after.in_words}",
            hint="look at the job again: somebody else may have changed it meanwhile",
        )


class Trigger(StrEnum):
    """What asked for a job."""

    SCHEDULE = "schedule"
    ADMINISTRATOR = "administrator"
    RETRY = "retry"
    RESTART = "restart"
    """A fresh backup after one that a restart aborted, where the policy asks for it at once."""
