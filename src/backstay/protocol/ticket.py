"""A ticket: one job for one agent, with everything decided; what *lease* answers."""

import base64
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, PlainValidator

from backstay.protocol.policy_document import PolicyValues


def _to_bytes(value: object) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return base64.b64decode(value, validate=True)
    raise ValueError("expected base64")


PathBytes = Annotated[
    bytes,
    PlainValidator(_to_bytes, json_schema_input_type=str),
    PlainSerializer(lambda value: base64.b64encode(value).decode(), return_type=str),
]
"""A path: bytes, in JSON as base64, for it may be no text."""


def _clean(value: object) -> object:
    if isinstance(value, str):
        return value.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "backslashreplace").decode()
    return value


Words = Annotated[str, BeforeValidator(_clean)]
"""Text for people, maybe made of names that are no text: whatever it was, it can be sent and kept."""

MOST_LOG_LINES = 50
"""So many lines of its log an agent tells at once."""

Count = Annotated[int, Field(ge=0, le=1 << 53)]


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class RepositoryAccess(_Message):
    """How the agent reaches the repository.

    Attributes:
        credential: write-only (repository.credential), armoured.
        data_path: "gateway": packs go through the server; "direct": by presigned requests to the store.
    """

    id: str
    credential: str
    data_path: Literal["gateway", "direct"] = "gateway"


class BackupTicket(_Message):
    """A backup to make."""

    kind: Literal["backup"] = "backup"
    job: int
    epoch: int
    file_server: str
    backup_set: str
    paths: list[PathBytes]
    rule: str
    default_rules: bool
    cross_mounts: bool
    policy: PolicyValues
    repository: RepositoryAccess


class RestoreTicket(_Message):
    """A restore to make.

    Attributes:
        point: the restore point's id, hexadecimal.
        manifest: its sealed manifest object.
        target: folder to restore into; `/` is the original place.
        paths: parts of the point; none: all of it.
        existing: "refuse", "overwrite", "skip" or "keep-both".
        dry_run: plan only, and report what would be written.
    """

    kind: Literal["restore"] = "restore"
    job: int
    epoch: int
    file_server: str
    point: str
    manifest: PathBytes
    target: PathBytes
    paths: list[PathBytes] = []
    existing: str = "refuse"
    with_permissions: bool = True
    numeric_ids: bool = False
    strip: bool = False
    verified: bool = True
    dry_run: bool = False
    repository: RepositoryAccess


class LookTicket(_Message):
    """A question, what a content rule would leave out of a folder as it is on the disk now; reads names only.

    It is no job: it takes no room among them, nothing is written, and its *outcome* is its answer.

    Attributes:
        job: its number, of a series of its own.
        path: the folder or file.
        most_entries: so many of its entries are told; `seconds`: nothing is looked at for longer.
    """

    kind: Literal["look"] = "look"
    job: int
    epoch: int
    path: PathBytes
    rule: str
    default_rules: bool
    cross_mounts: bool = False
    most_entries: int = 500
    seconds: float = 3.0


Ticket = Annotated[BackupTicket | RestoreTicket | LookTicket, Field(discriminator="kind")]


class LogLine(_Message):
    """A line of the agent's own log; the time by its clock, nanoseconds since the epoch."""

    at_ns: int = Field(ge=0, lt=1 << 63)
    level: Words = Field(max_length=16)
    text: Words = Field(max_length=1000)


class Greeting(_Message):
    """What an agent says of itself with each *lease*.

    Attributes:
        instance: random, of this agent process.
        first: the process has had no answer yet: it takes the place of the one before it. Later it may not
            take its place back, for another may have been started meanwhile.
        machine_id, boot_id: as /etc/machine-id and /proc/sys/kernel/random/boot_id say (proc(5)).
        time_ns: its clock, nanoseconds since the epoch.
        busy: jobs that it is running.
        room: how many more jobs it would take now; 0: none, it only says that it is there.
        looks: it also answers questions about its disk (LookTicket), whatever its room.
        log: lines of its log that the server has not got yet, the oldest first.
    """

    instance: Words = Field(min_length=1, max_length=64)
    first: bool = True
    machine_id: Words = Field(max_length=64)
    boot_id: Words = Field(max_length=64)
    system: Words = Field(default="", max_length=32)
    version: Words = Field(default="", max_length=64)
    time_ns: int = Field(ge=0, lt=1 << 63)
    busy: list[Count] = Field(default=[], max_length=64)
    room: int = 1
    looks: bool = False
    log: list[LogLine] = Field(default=[], max_length=MOST_LOG_LINES)
    wait_seconds: float = Field(default=25.0, ge=0, le=60)


class LeaseReply(_Message):
    """What *lease* answers.

    Attributes:
        ticket: a job to carry out, if there is one.
        server_time_ns: the server's clock, for restore points bear its time.
        inventory_wanted: the server would like to know the volumes and folders.
    """

    ticket: Ticket | None = None
    server_time_ns: int
    inventory_wanted: bool = False
