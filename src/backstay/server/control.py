"""What every room of the server is given: settings, database, clock, key, and the opened repositories."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from backstay.server.database import Database
from backstay.server.metrics import Metrics
from backstay.server.repositories import Repositories
from backstay.server.settings import ServerKey, ServerSettings
from backstay.server.silence import Silence
from backstay.server.small_talk import SmallTalk

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """The time, aware, in UTC."""
    return datetime.now(UTC)


class Wakeups:
    """Wakes whoever waits for something to happen in this process; others look at the database in time."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._count = 0
        self._listeners: list[Callable[[], None]] = []

    def listen(self, listener: Callable[[], None]) -> None:
        """Call `listener` at every wake-up, in the thread that woke; it must not block."""
        self._listeners.append(listener)

    def wake(self) -> None:
        """Something happened: a job was queued or has changed."""
        with self._condition:
            self._count += 1
            self._condition.notify_all()
        for listener in self._listeners:
            listener()

    def wait(self, seconds: float) -> None:
        """Return after the next wake-up, or so many seconds."""
        with self._condition:
            self._condition.wait(seconds)


@dataclass(frozen=True)
class Control:
    """One server process.

    Attributes:
        instance: names this process in leases.
        wakeups, metrics: of this process.
        stopping: set when this process is about to end: whoever waits ends its answer.
        silence: of the jobs that run, as this process has listened to it.
        small_talk: what agents said within the last second; where no chores run, it is written at once.
    """

    settings: ServerSettings
    database: Database
    key: ServerKey
    repositories: Repositories
    instance: str
    small_talk: SmallTalk
    clock: Clock = utc_now
    wakeups: Wakeups = field(default_factory=Wakeups)
    stopping: threading.Event = field(default_factory=threading.Event)
    metrics: Metrics = field(default_factory=Metrics)
    silence: Silence = field(default_factory=Silence)
