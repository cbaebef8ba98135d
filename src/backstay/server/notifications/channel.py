"""What every channel promises."""

from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict, SecretStr

from backstay.server.notifications.message import Message


class Target(BaseModel):
    """Where a channel sends, as an administrator writes it down; each channel has its own fields.

    What is a `SecretStr` is never shown again.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    @classmethod
    def secret_fields(cls) -> set[str]:
        """The names of the fields that are never shown."""
        return {name for name, one in cls.model_fields.items() if one.annotation is SecretStr}

    def shown(self) -> dict[str, Any]:
        """All that may be shown; a secret is null where there is none, else "********"."""
        values = self.model_dump(mode="json")
        for name in self.secret_fields():
            values[name] = "********" if getattr(self, name).get_secret_value() else None
        return values

    def revealed(self) -> dict[str, Any]:
        """Everything, to be sealed."""
        values = self.model_dump(mode="json")
        for name in self.secret_fields():
            values[name] = getattr(self, name).get_secret_value()
        return values


class Channel(Protocol):
    """Sends messages somewhere. Made for one message or many; keeps no connection open between them."""

    def send(self, message: Message) -> None:
        """Send it, within half a minute.

        When this returns, the receiving service has taken it. It may be called again with the same message
        after a failure: then it may arrive twice, under the same id.

        Raises:
            DeliveryFailed: it was not taken, or nobody knows; the text holds no secret.
        """
