"""Notification channels: list, make, change, remove, try."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from backstay.domain.errors import BackstayError
from backstay.server.alerts import Severity
from backstay.server.api.dependencies import ControlDep, Manager, Viewer
from backstay.server.control import Control
from backstay.server.notifications import channels, registry
from backstay.server.tables import NotificationChannel

router = APIRouter(tags=["notifications"])

Number = Annotated[int, Field(ge=1, le=2**53)]
Reminder = Annotated[
    int, Field(ge=0, le=30 * 86400, description="seconds between reminders of what is active; 0: none")
]
Target = Annotated[dict[str, Any], Field(description="as notification-channel-kinds says for the kind")]
Name = Annotated[str, Field(min_length=1, max_length=64)]


class ChannelKindView(BaseModel):
    """A kind of channel, and what it takes as `target`, as JSON Schema."""

    name: str
    title: str
    target: dict[str, Any]
    secrets: list[str]


class ChannelView(BaseModel):
    """A channel; its secrets are not shown."""

    id: int
    name: str
    kind: str
    target: dict[str, Any] | None = Field(description="null where this server's key does not open it")
    least_severity: Severity
    reminder_seconds: int
    send_resolved: bool
    enabled: bool
    created_at: datetime
    last_sent_at: datetime | None
    last_error: str
    failing_since: datetime | None


class NewChannel(BaseModel):
    """A channel to be made."""

    model_config = ConfigDict(extra="forbid")
    name: Name
    kind: str = Field(max_length=16)
    target: Target
    least_severity: Severity = Severity.WARNING
    reminder_seconds: Reminder = 86400
    send_resolved: bool = True
    enabled: bool = True


class ChannelChange(BaseModel):
    """What is to be changed; what is left out stays, as do secrets that `target` leaves out."""

    model_config = ConfigDict(extra="forbid")
    name: Name | None = None
    target: Target | None = None
    least_severity: Severity | None = None
    reminder_seconds: Reminder | None = None
    send_resolved: bool | None = None
    enabled: bool | None = None


def view_of(control: Control, row: NotificationChannel) -> ChannelView:
    """A channel as the API shows it."""
    try:
        target: dict[str, Any] | None = channels.target_of(control.key, row).shown()
    except BackstayError:
        target = None
    return ChannelView(
        id=row.id,
        name=row.name,
        kind=row.kind,
        target=target,
        least_severity=Severity(row.least_severity),
        reminder_seconds=row.reminder_seconds,
        send_resolved=row.send_resolved,
        enabled=row.enabled,
        created_at=row.created_at,
        last_sent_at=row.last_sent_at,
        last_error=row.last_error,
        failing_since=row.failing_since,
    )


@router.get("/notification-channel-kinds")
def list_kinds(actor: Viewer) -> list[ChannelKindView]:
    """What kinds of channels there are."""
    return [
        ChannelKindView(
            name=kind.name,
            title=kind.title,
            target=kind.target.model_json_schema(),
            secrets=sorted(kind.target.secret_fields()),
        )
        for kind in registry.KINDS
    ]


@router.get("/notification-channels")
def list_channels(control: ControlDep, actor: Manager) -> list[ChannelView]:
    """All channels by name."""
    with control.database.read() as db:
        return [view_of(control, row) for row in channels.list_channels(db)]


@router.post("/notification-channels", status_code=201)
def create_channel(control: ControlDep, actor: Manager, wanted: NewChannel) -> ChannelView:
    """Make a channel."""
    with control.database.begin() as db:
        row = channels.create_channel(
            db,
            actor,
            control.key,
            now=control.clock(),
            name=wanted.name,
            kind=wanted.kind,
            target=wanted.target,
            least_severity=wanted.least_severity,
            reminder_seconds=wanted.reminder_seconds,
            send_resolved=wanted.send_resolved,
            enabled=wanted.enabled,
        )
        return view_of(control, row)


@router.get("/notification-channels/{channel_id}")
def get_channel(control: ControlDep, actor: Manager, channel_id: Number) -> ChannelView:
    """One channel."""
    with control.database.read() as db:
        return view_of(control, channels.get_channel(db, channel_id))


@router.patch("/notification-channels/{channel_id}")
def change_channel(
    control: ControlDep, actor: Manager, channel_id: Number, change: ChannelChange
) -> ChannelView:
    """Change a channel."""
    with control.database.begin() as db:
        row = channels.change_channel(
            db,
            actor,
            control.key,
            channel_id,
            now=control.clock(),
            name=change.name,
            target=change.target,
            least_severity=change.least_severity,
            reminder_seconds=change.reminder_seconds,
            send_resolved=change.send_resolved,
            enabled=change.enabled,
        )
        return view_of(control, row)


@router.delete("/notification-channels/{channel_id}", status_code=204)
def remove_channel(control: ControlDep, actor: Manager, channel_id: Number) -> None:
    """Remove a channel, and what was still to be sent through it."""
    with control.database.begin() as db:
        channels.remove_channel(db, actor, channel_id, now=control.clock())


@router.post("/notification-channels/{channel_id}/test")
def send_test(control: ControlDep, actor: Manager, channel_id: Number) -> ChannelView:
    """Send a test through it now; 502 says why it did not arrive."""
    return view_of(control, channels.send_test(control, actor, channel_id))
