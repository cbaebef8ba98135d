"""What a channel sends: one message for all alerts that there is something to tell of."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

from backstay.server.alert_checks.finding import Severity
from backstay.server.tables import AlertRow

_LISTED = 50


@dataclass(frozen=True)
class AlertNote:
    """One alert, as a message tells of it."""

    id: int
    kind: str
    severity: Severity
    text: str
    hint: str
    raised_at: datetime
    resolved_at: datetime | None

    @classmethod
    def of(cls, row: AlertRow) -> Self:
        """The note for a row."""
        return cls(
            row.id, row.kind, Severity(row.severity), row.text, row.hint, row.raised_at, row.resolved_at
        )

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "id": self.id,
            "kind": self.kind,
            "severity": self.severity.value,
            "text": self.text,
            "hint": self.hint,
            "raised_at": self.raised_at.isoformat(),
            "resolved_at": self.resolved_at.isoformat() if self.resolved_at else None,
        }


@dataclass(frozen=True)
class Message:
    """A message.

    Attributes:
        id: the same with every attempt to send it, so that a receiver can tell a repetition.
        raised: new; `reminded`: known, and still there; `resolved`: gone.
        url: where the server's console is.
        is_test: somebody wants to see that the channel works.
    """

    id: str
    at: datetime
    url: str = ""
    raised: tuple[AlertNote, ...] = ()
    reminded: tuple[AlertNote, ...] = ()
    resolved: tuple[AlertNote, ...] = ()
    is_test: bool = False

    @property
    def severity(self) -> Severity:
        """The worst of what is active."""
        return max(
            (note.severity for note in (*self.raised, *self.reminded)),
            key=lambda one: one.rank,
            default=Severity.INFO,
        )

    @property
    def subject(self) -> str:
        """One line."""
        if self.is_test:
            return "Backstay: this is a test"
        first = next(iter((*self.raised, *self.reminded, *self.resolved)), None)
        if first is not None and len(self.raised) + len(self.reminded) + len(self.resolved) == 1:
            return _line(f"Backstay: {'resolved: ' if self.resolved else ''}{first.text}")
        counted = [
            f"{len(notes)} {word}"
            for notes, word in (
                (self.raised, "new"),
                (self.reminded, "still active"),
                (self.resolved, "resolved"),
            )
            if notes
        ]
        return f"Backstay: alerts: {', '.join(counted)}"

    @property
    def text(self) -> str:
        """Plain text."""
        if self.is_test:
            lines = ["Somebody asked this Backstay server to show that it can reach you. It can."]
        else:
            lines = [
                *_part("New", self.raised),
                *_part("Still active", self.reminded),
                *_part("Resolved", self.resolved),
            ]
        if self.url:
            lines += ["", self.url]
        return "\n".join(lines).strip() + "\n"

    def document(self) -> dict[str, Any]:
        """As JSON: what webhooks get."""
        return {
            "id": self.id,
            "event": "test" if self.is_test else "alerts",
            "at": self.at.isoformat(),
            "server": self.url,
            "severity": self.severity.value,
            "subject": self.subject,
            "raised": [note.document() for note in self.raised],
            "reminded": [note.document() for note in self.reminded],
            "resolved": [note.document() for note in self.resolved],
        }


def _part(title: str, notes: Sequence[AlertNote]) -> list[str]:
    if not notes:
        return []
    lines = [f"{title}:"]
    for note in sorted(notes, key=lambda one: -one.severity.rank)[:_LISTED]:
        since = f"since {note.raised_at:%Y-%m-%d %H:%M} UTC"
        if note.resolved_at is not None:
            since += f", gone at {note.resolved_at:%H:%M} UTC"
        lines.append(f"- [{note.severity.value}] {note.text} ({since})")
        if note.hint and note.resolved_at is None:
            lines.append(f"  {note.hint}")
    if len(notes) > _LISTED:
        lines.append(f"- and {len(notes) - _LISTED} more")
    return [*lines, ""]


def _line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 150 else line[:149] + "…"
