"""What a check finds, and what it is given to look at."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from functools import cached_property
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.orm import Session

from backstay.server.alert_checks.set_facts import SetFacts, load_sets
from backstay.server.control import Control
from backstay.server.tables import AlertRow


class AlertKind(StrEnum):
    """What is wrong."""

    MISSED = "missed"
    FAILED = "failed"
    INCOMPLETE = "incomplete"
    AGENT_SILENT = "agent_silent"
    CLOCK_WRONG = "clock_wrong"
    TWO_AGENTS = "two_agents"
    STORAGE_FILLING = "storage_filling"
    DAMAGE = "damage"
    SET_UNCOVERED = "set_uncovered"
    POLICY_PROTECTS_NOTHING = "policy_protects_nothing"
    CERTIFICATE_EXPIRING = "certificate_expiring"
    DISK_FILLING = "disk_filling"
    AUDIT_BROKEN = "audit_broken"
    CHANNEL_FAILING = "channel_failing"


class Severity(StrEnum):
    """How much it matters."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """The higher, the worse."""
        return list(Severity).index(self)


@dataclass(frozen=True)
class Finding:
    """A cause that is there now.

    Attributes:
        subject: what it is about, as "set:12": kind and subject are one alert while the cause lasts.
        text: what is wrong; `hint`: what to do.
    """

    kind: AlertKind
    severity: Severity
    subject: str
    text: str
    hint: str
    file_server_id: int | None = None
    backup_set_id: int | None = None
    job_id: int | None = None


class AlertLimits(BaseModel):
    """From when on something is an alert; administrators may change it (setting `alert_limits`).

    Attributes:
        missed_after_seconds: after a scheduled time without a backup.
        silent_after_seconds: an agent was not heard of for so long.
        clock_seconds: a file server's clock differs from the server's by more.
        stale_days: a file without a good copy for so many days is named.
        full_in_days: storage that is full so soon at its present growth.
        least_free_percent: of a disk or a storage.
        certificate_days: the certificate expires so soon.
        flapping_seconds: a cause that comes back within this time is not told of anew; that it is gone is
            told no sooner.
        message_seconds: a channel gets one message in this time at most.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    missed_after_seconds: int = Field(default=900, ge=60, le=7 * 86400)
    silent_after_seconds: int = Field(default=600, ge=90, le=30 * 86400)
    clock_seconds: int = Field(default=300, ge=1, le=86400)
    stale_days: int = Field(default=7, ge=1, le=365)
    full_in_days: int = Field(default=14, ge=1, le=365)
    least_free_percent: int = Field(default=10, ge=0, le=90)
    certificate_days: int = Field(default=21, ge=1, le=365)
    flapping_seconds: int = Field(default=600, ge=0, le=86400)
    message_seconds: int = Field(default=300, ge=0, le=86400)


@dataclass
class Facts:
    """What the checks of one evaluation look at.

    Attributes:
        standing: the alerts that are active, by kind and subject.
        watching_since: since then the causes have been looked for without a long break: what nobody could
            report before then is no one's silence.
        memory: what the checks remember from one evaluation to the next, JSON.
    """

    control: Control
    db: Session
    now: datetime
    limits: AlertLimits
    standing: Mapping[tuple[str, str], AlertRow]
    watching_since: datetime
    memory: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def sets(self) -> list[SetFacts]:
        """Every backup set that is switched on, and how its last backups went."""
        return load_sets(self.db)

    def standing_for(self, kind: AlertKind, subject: str) -> AlertRow | None:
        """The active alert of this cause, if there is one."""
        return self.standing.get((kind.value, subject))


CheckFunction = Callable[[Facts], Iterable[Finding]]


def ago(now: datetime, then: datetime) -> str:
    """How long ago, as people say it."""
    return span(now - then) + " ago"


def span(length: timedelta) -> str:
    """A length of time, roughly, as people say it."""
    seconds = max(0, int(length.total_seconds()))
    for size, name in ((86400, "day"), (3600, "hour"), (60, "minute"), (1, "second")):
        if seconds >= 2 * size or (seconds >= size and size != 86400) or size == 1:
            count = seconds // size
            return f"{count} {name}" if count == 1 else f"{count} {name}s"
    return "0 seconds"


def moment(at: datetime) -> str:
    """A time, as the texts show it."""
    return f"{at:%Y-%m-%d %H:%M} UTC"
