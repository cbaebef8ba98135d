"""The channels, one line each."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from backstay.domain.errors import UsageError
from backstay.server.notifications.apprise import Apprise, AppriseTarget
from backstay.server.notifications.channel import Channel, Target
from backstay.server.notifications.email import Email, EmailTarget
from backstay.server.notifications.webhook import Webhook, WebhookTarget


@dataclass(frozen=True)
class ChannelKind:
    """A kind of channel: its name, what people read, and its settings."""

    name: str
    title: str
    target: type[Target]
    open: Callable[[Any], Channel]


KINDS: list[ChannelKind] = [
    ChannelKind("email", "E-mail", EmailTarget, Email),
    ChannelKind("webhook", "Webhook", WebhookTarget, Webhook),
    ChannelKind("apprise", "Apprise", AppriseTarget, Apprise),
]


def kind_of(name: str) -> ChannelKind:
    """The kind of this name. Raises UsageError."""
    for kind in KINDS:
        if kind.name == name:
            return kind
    raise UsageError(
        f"there is no kind of channel {name!r}", hint=f"use {', '.join(kind.name for kind in KINDS)}"
    )


def read_target(kind: str, values: dict[str, Any]) -> Target:
    """A channel's settings, checked. Raises UsageError."""
    try:
        return kind_of(kind).target.model_validate(values)
    except ValidationError as error:
        wrong = "; ".join(
            f"{'.'.join(str(part) for part in one['loc']) or 'target'}: {one['msg']}"
            for one in error.errors(include_input=False, include_url=False)[:10]
        )
        raise UsageError(
            f"the settings of the channel do not hold: {wrong}",
            hint="GET /api/v1/notification-channel-kinds says what each kind takes",
        ) from None


def open_channel(kind: str, target: Target) -> Channel:
    """The channel of these settings."""
    return kind_of(kind).open(target)
