"""Any of the services that apprise knows, by its URLs: https://github.com/caronc/apprise/wiki."""

import logging
from typing import Any

from pydantic import Field, SecretStr, field_validator

from backstay.domain.errors import DeliveryFailed
from backstay.server.alert_checks.finding import Severity
from backstay.server.notifications.channel import Target
from backstay.server.notifications.message import Message


class AppriseTarget(Target):
    """A service's URL, which holds its password or token."""

    url: SecretStr = Field(max_length=2000)

    @field_validator("url")
    @classmethod
    def _known(cls, url: SecretStr) -> SecretStr:
        import apprise

        if apprise.Apprise.instantiate(url.get_secret_value(), suppress_exceptions=True) is None:
            raise ValueError("apprise knows no service of this URL, or something is missing in it")
        return url


class Apprise:
    """The channel."""

    def __init__(self, target: AppriseTarget) -> None:
        self._url = target.url.get_secret_value()

    def send(self, message: Message) -> None:
        """As `Channel.send`."""
        import apprise

        service = apprise.Apprise()
        service.add(self._url)
        kinds = {
            Severity.INFO: apprise.NotifyType.INFO,
            Severity.WARNING: apprise.NotifyType.WARNING,
            Severity.CRITICAL: apprise.NotifyType.FAILURE,
        }
        kind = kinds[message.severity]
        if message.resolved and not message.raised and not message.reminded:
            kind = apprise.NotifyType.SUCCESS
        scheme = self._url.partition(":")[0]
        capture: Any = apprise.LogCapture
        with capture(level=logging.WARNING, fmt="%(message)s") as log:
            taken = service.notify(body=message.text, title=message.subject, notify_type=kind)
            said = log.getvalue().strip().splitlines()
        if not taken:
            # What services say may repeat what the URL holds: only the kind of failure is told.
            reason = next((line for line in said if not self._tells_secrets(line)), "it does not say why")
            raise DeliveryFailed(
                f"the service {scheme}:// did not take the message: {reason[:200]}",
                hint="check its URL, and that the service can be reached",
            )

    def _tells_secrets(self, line: str) -> bool:
        parts = self._url.partition("://")[2].replace("@", "/").replace("?", "/").replace(":", "/").split("/")
        return any(len(part) >= 4 and part in line for part in parts)
