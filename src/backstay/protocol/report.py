"""*Report* and *outcome*: what an agent says of a job while it runs, and at its end."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from backstay.protocol.ticket import Count, PathBytes, Words


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class StepReport(_Message):
    """One step: `state` is running, done, failed or cancelled; times in nanoseconds by the server's clock."""

    name: Words = Field(max_length=64)
    state: Words = Field(max_length=16)
    started_ns: int = 0
    ended_ns: int | None = None
    figures: dict[str, int | float] = {}
    messages: list[Words] = Field(default=[], max_length=1000)


class ProgressReport(_Message):
    """How far the running step is."""

    step: Words = Field(default="", max_length=64)
    files: int = 0
    bytes: int = 0
    expected_files: int = 0
    expected_bytes: int = 0
    bytes_per_second: float = 0.0
    seconds_left: float | None = None
    path: PathBytes = b""


class ProblemReport(_Message):
    """A file that is not as it should be in the restore point, or at the target of a restore."""

    path: PathBytes
    reason: Words = Field(max_length=4000)
    grade: Words = Field(default="", max_length=16)


class Report(_Message):
    """How a job goes.

    Attributes:
        steps: all steps so far, the running one among them.
        messages: lines for the job's log since the last report.
    """

    epoch: int
    steps: list[StepReport] = Field(default=[], max_length=32)
    progress: ProgressReport = ProgressReport()
    messages: list[Words] = Field(default=[], max_length=1000)


class ReportReply(_Message):
    """Whether to go on.

    Attributes:
        verdict: "go_on"; "cancel": an administrator wants it to stop; "lost": the job was given up, and
            nothing that this agent still does for it counts.
        reason: in words, where it is not to go on.
    """

    verdict: Literal["go_on", "cancel", "lost"]
    reason: str = ""
    server_time_ns: int = 0


class LookedEntry(_Message):
    """A path on the disk, whether a content rule takes it in, and why."""

    path: PathBytes
    kind: Literal["folder", "file", "link", "other"]
    size: int = 0
    included: bool
    reason: Words = Field(default="", max_length=1000)


class LookAnswer(_Message):
    """What an agent found where it was asked to look.

    Attributes:
        found: what is there: "folder", "file" (whatever is no folder), or "nothing".
        above: the path and each folder above it, from the top to the first that is left out.
        entries: of the folder, folders first; `more`: it has further ones.
        left_out: below the folder, the first of what the rule leaves out.
        files, bytes: below the folder, that would be backed up; `left_out_files`, `left_out_bytes`,
            `left_out_folders`: that would not, a folder without what is in it.
        complete: all below was looked at; else it took too long, or is too much.
        problem: why it could not be looked at, in words.
    """

    found: Literal["folder", "file", "nothing"] = "nothing"
    above: list[LookedEntry] = Field(default=[], max_length=256)
    entries: list[LookedEntry] = Field(default=[], max_length=1000)
    more: bool = False
    left_out: list[LookedEntry] = Field(default=[], max_length=100)
    files: Count = 0
    bytes: Count = 0
    left_out_files: Count = 0
    left_out_bytes: Count = 0
    left_out_folders: Count = 0
    complete: bool = True
    problem: Words = Field(default="", max_length=1000)


class Outcome(_Message):
    """How a job ended. May be repeated: only the first counts.

    Attributes:
        state: "succeeded" (with warnings where there are problems), "failed", "cancelled".
        restore_point: id of the committed restore point, hexadecimal.
        figures: what the job did, by name.
        problems: the files with problems, the first 10,000; `problem_count`: of all.
        retryable: whether another attempt may succeed.
        look: the answer to a LookTicket, which is no job: nothing else of the outcome counts then.
    """

    epoch: int
    state: Literal["succeeded", "failed", "cancelled"]
    reason: Words = Field(default="", max_length=4000)
    hint: Words = Field(default="", max_length=4000)
    retryable: bool = True
    restore_point: str | None = Field(default=None, pattern="^[0-9a-f]{64}$")
    steps: list[StepReport] = Field(default=[], max_length=32)
    figures: dict[str, Any] = {}
    messages: list[Words] = Field(default=[], max_length=1000)
    problems: list[ProblemReport] = Field(default=[], max_length=10_000)
    problem_count: Count = 0
    look: LookAnswer | None = None


class OutcomeReply(_Message):
    """What became of the job."""

    state: str
    reason: str = ""


class EnrolRequest(_Message):
    """A new agent introduces itself."""

    secret: str = Field(max_length=200)
    name: str = Field(max_length=255)
    system: Words = Field(default="", max_length=32)
    version: Words = Field(default="", max_length=64)


class WhoAmIReply(_Message):
    """Who the server takes an agent for; asked by `backstay doctor`, beside the agent that runs."""

    file_server_id: int
    name: str
    server_time_ns: int
    version: str = ""


class EnrolReply(_Message):
    """The agent's own credential, shown once."""

    file_server_id: int
    name: str
    secret: str
