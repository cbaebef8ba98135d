"""E-mail, by SMTP (RFC 5321) with STARTTLS (RFC 3207) or TLS from the first byte (RFC 8314)."""

import smtplib
import socket
import ssl
from email.message import EmailMessage
from email.utils import format_datetime
from typing import Annotated, Literal, Self

from pydantic import Field, SecretStr, StringConstraints, model_validator

from backstay.domain.errors import DeliveryFailed
from backstay.server.notifications.channel import Target
from backstay.server.notifications.message import Message

_SECONDS = 20.0

Address = Annotated[str, StringConstraints(pattern=r"^[^@\s<>,;\"\\]{1,64}@[^@\s<>,;\"\\]{1,255}$")]


class EmailTarget(Target):
    """A mail server, and who gets the mail.

    Attributes:
        security: "starttls", "tls", or "none" for a server on this machine.
        authority: PEM of the certificate authority that signed the mail server's certificate, where the
            system does not know it.
    """

    host: str = Field(min_length=1, max_length=255)
    port: int = Field(default=587, ge=1, le=65535)
    security: Literal["starttls", "tls", "none"] = "starttls"
    user: str = Field(default="", max_length=255)
    password: SecretStr = SecretStr("")
    sender: Address
    recipients: list[Address] = Field(min_length=1, max_length=50)
    authority: str = Field(default="", max_length=65536)

    @model_validator(mode="after")
    def _no_password_in_the_clear(self) -> Self:
        if self.security == "none" and self.user and self.host not in {"localhost", "127.0.0.1", "::1"}:
            raise ValueError("a password would be sent in the clear: use starttls or tls")
        return self


class Email:
    """The channel."""

    def __init__(self, target: EmailTarget) -> None:
        self._target = target

    def send(self, message: Message) -> None:
        """As `Channel.send`."""
        target = self._target
        place = f"the mail server {target.host}:{target.port}"
        try:
            with self._connected() as server:
                if target.user:
                    server.login(target.user, target.password.get_secret_value())
                refused = server.send_message(self._mail(message), target.sender, target.recipients)
        except smtplib.SMTPAuthenticationError as error:
            raise DeliveryFailed(
                f"{place} does not let {target.user} in ({error.smtp_code})",
                hint="check the user and password",
            ) from error
        except smtplib.SMTPNotSupportedError as error:
            raise DeliveryFailed(
                f"{place} cannot do what is asked: {error}",
                hint="check its port, and whether it speaks STARTTLS or TLS",
            ) from error
        except smtplib.SMTPException as error:
            raise DeliveryFailed(f"{place} refused the message: {_words(error)}") from error
        except ssl.SSLError as error:
            reason = getattr(error, "verify_message", "") or error.reason or str(error)
            raise DeliveryFailed(
                f"the connection to {place} is not secure: {reason}",
                hint="check its certificate, or give the authority that signed it",
            ) from error
        except OSError as error:
            raise DeliveryFailed(
                f"{place} cannot be reached: {error.strerror or error}", hint="check its name and port"
            ) from error
        if refused:
            raise DeliveryFailed(
                f"{place} refused {', '.join(sorted(refused))}", hint="check these addresses"
            )

    def _connected(self) -> smtplib.SMTP:
        target = self._target
        context = ssl.create_default_context(cadata=target.authority or None)
        if target.security == "tls":
            return smtplib.SMTP_SSL(target.host, target.port, timeout=_SECONDS, context=context)
        server = smtplib.SMTP(target.host, target.port, timeout=_SECONDS)
        if target.security == "starttls":
            try:
                server.starttls(context=context)
            except BaseException:
                server.close()
                raise
        return server

    def _mail(self, message: Message) -> EmailMessage:
        mail = EmailMessage()
        mail["From"] = self._target.sender
        mail["To"] = ", ".join(self._target.recipients)
        mail["Subject"] = message.subject
        mail["Date"] = format_datetime(message.at)
        mail["Message-ID"] = f"<{message.id}@{socket.gethostname()}>"
        # RFC 3834: nobody's holiday answers it.
        mail["Auto-Submitted"] = "auto-generated"
        mail.set_content(message.text)
        return mail


def _words(error: smtplib.SMTPException) -> str:
    if isinstance(error, smtplib.SMTPResponseException):
        said = error.smtp_error
        return f"{error.smtp_code} {said.decode(errors='replace') if isinstance(said, bytes) else said}"
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return "it takes none of the recipients"
    return str(error) or type(error).__name__
