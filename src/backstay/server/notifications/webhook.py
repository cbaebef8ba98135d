"""A webhook: the message as JSON, signed, by POST.

The header `X-Backstay-Signature` is `sha256=` and the HMAC-SHA256 of the body under the secret, hexadecimal;
`X-Backstay-Message` is the message's id, the same with every attempt.
"""

import hashlib
import hmac
import json
from typing import Annotated

import httpx
from pydantic import Field, SecretStr, StringConstraints

from backstay.domain.errors import DeliveryFailed
from backstay.server.notifications.channel import Target
from backstay.server.notifications.message import Message

_TIMEOUT = httpx.Timeout(15.0, connect=10.0)


class WebhookTarget(Target):
    """Where to, and the secret that signs; without one nothing is signed."""

    url: Annotated[str, StringConstraints(pattern=r"^https?://[^\s/@]+(/\S*)?$")] = Field(max_length=2000)
    secret: SecretStr = SecretStr("")


class Webhook:
    """The channel."""

    def __init__(self, target: WebhookTarget) -> None:
        self._target = target

    def send(self, message: Message) -> None:
        """As `Channel.send`."""
        body = json.dumps(message.document(), separators=(",", ":")).encode()
        headers = {"Content-Type": "application/json", "X-Backstay-Message": message.id}
        if secret := self._target.secret.get_secret_value():
            headers["X-Backstay-Signature"] = signature(secret, body)
        place = f"the webhook at {httpx.URL(self._target.url).netloc.decode()}"
        try:
            # Redirects are not followed: what was signed for one place does not go to another.
            with httpx.Client(timeout=_TIMEOUT, follow_redirects=False) as client:
                with client.stream("POST", self._target.url, content=body, headers=headers) as answer:
                    status = answer.status_code
        except httpx.TimeoutException as error:
            raise DeliveryFailed(f"{place} did not answer in time", hint="see that it is up") from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise DeliveryFailed(f"{place} cannot be reached: {error}", hint="check its address") from error
        if not 200 <= status < 300:
            raise DeliveryFailed(f"{place} answered {status}", hint="look into its log")


def signature(secret: str, body: bytes) -> str:
    """What the receiver compares `X-Backstay-Signature` with."""
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
