"""Every channel passes one suite, with real receivers on the loopback address."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backstay.domain.errors import DeliveryFailed, UsageError
from backstay.server.notifications.registry import KINDS, open_channel, read_target
from backstay.server.notifications.webhook import signature
from backstay.server.settings import ServerSettings
from backstay.server.tls import certificate_files
from backstay.testing.channel_suite import SECRET, ChannelSuite, Receiver, message
from backstay.testing.receivers import HttpReceiver, MailReceiver, http_receiver, mail_receiver


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A self-signed certificate for the loopback address, and its key."""
    files = certificate_files(ServerSettings(tmp_path_factory.mktemp("tls"), public_url="https://localhost"))
    assert files is not None
    return files


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class _EmailSuite(ChannelSuite):
    kind = "email"
    security: str

    @pytest.fixture
    def receiver(self, certificate: tuple[Path, Path]) -> Iterator[Receiver]:
        """A mail server."""
        self.authority = certificate[0].read_text()
        with mail_receiver(*certificate, tls_at_once=self.security == "tls") as receiver:
            yield receiver

    def target(self, receiver: Receiver) -> dict[str, Any]:
        """Its address."""
        assert isinstance(receiver, MailReceiver)
        return self.nowhere() | {"port": receiver.port, "authority": self.authority}

    def nowhere(self) -> dict[str, Any]:
        """A port that is not used."""
        return {
            "host": "127.0.0.1",
            "port": _free_port(),
            "security": self.security,
            "user": MailReceiver.user,
            "password": SECRET,
            "sender": "backstay@backstay.test",
            "recipients": ["ada@backstay.test", "bob@backstay.test"],
        }

    def test_every_recipient_gets_it(self, receiver: MailReceiver) -> None:
        """One mail for all recipients."""
        self._send(self.target(receiver), message())
        assert receiver.recipients == [["ada@backstay.test", "bob@backstay.test"]]

    def test_a_wrong_password_is_a_failure(self, receiver: MailReceiver) -> None:
        """Who is not let in has sent nothing."""
        with pytest.raises(DeliveryFailed, match="does not let backstay in"):
            self._send(self.target(receiver) | {"password": "wrong"}, message())
        assert receiver.taken == []

    def test_a_certificate_of_nobody_known_is_a_failure(self, receiver: MailReceiver) -> None:
        """The password goes to nobody whose certificate does not hold."""
        with pytest.raises(DeliveryFailed, match="not secure"):
            self._send(self.target(receiver) | {"authority": ""}, message())


class TestEmailStarttls(_EmailSuite):
    """E-mail with STARTTLS."""

    security = "starttls"


class TestEmailTls(_EmailSuite):
    """E-mail with TLS from the first byte."""

    security = "tls"


class TestWebhook(ChannelSuite):
    """A webhook."""

    kind = "webhook"

    @pytest.fixture
    def receiver(self) -> Iterator[Receiver]:
        """A web server."""
        with http_receiver() as receiver:
            yield receiver

    def target(self, receiver: Receiver) -> dict[str, Any]:
        """Its address."""
        assert isinstance(receiver, HttpReceiver)
        return {"url": f"http://127.0.0.1:{receiver.port}/hook", "secret": SECRET}

    def nowhere(self) -> dict[str, Any]:
        """A port that is not used."""
        return {"url": f"http://127.0.0.1:{_free_port()}/hook", "secret": SECRET}

    def test_it_is_signed(self, receiver: HttpReceiver) -> None:
        """The signature is the body's under the secret, and the id is the message's."""
        self._send(self.target(receiver), message(7))
        path, headers, body = receiver.requests[0]
        assert path == "/hook"
        assert headers["X-Backstay-Signature"] == signature(SECRET, body)
        assert headers["X-Backstay-Message"] == "m7"
        document = json.loads(body)
        assert (document["event"], document["severity"]) == ("alerts", "critical")
        assert [note["kind"] for note in document["raised"]] == ["missed"]


class TestApprise(ChannelSuite):
    """Apprise, by its own JSON service."""

    kind = "apprise"

    @pytest.fixture
    def receiver(self) -> Iterator[Receiver]:
        """A web server."""
        with http_receiver() as receiver:
            yield receiver

    def target(self, receiver: Receiver) -> dict[str, Any]:
        """Its address."""
        assert isinstance(receiver, HttpReceiver)
        return {"url": f"json://user:{SECRET}@127.0.0.1:{receiver.port}/{SECRET}"}

    def nowhere(self) -> dict[str, Any]:
        """A port that is not used."""
        return {"url": f"json://user:{SECRET}@127.0.0.1:{_free_port()}/{SECRET}"}


def test_every_kind_has_its_suite() -> None:
    """A channel that is in the registry is tested here."""
    tested = {suite.kind for suite in (TestEmailStarttls, TestEmailTls, TestWebhook, TestApprise)}
    assert tested == {kind.name for kind in KINDS}


@pytest.mark.parametrize(
    ("kind", "target"),
    [
        ("pigeon", {}),
        ("webhook", {"url": "ftp://127.0.0.1/"}),
        ("webhook", {"url": "http://127.0.0.1/", "other": 1}),
        ("email", {"host": "127.0.0.1", "sender": "no address", "recipients": ["a@b"]}),
        ("email", {"host": "127.0.0.1", "sender": "a@b\nBcc: c@d", "recipients": ["a@b"]}),
        (
            "email",
            {"host": "mail", "security": "none", "user": "u", "sender": "a@b", "recipients": ["a@b"]},
        ),
        ("apprise", {"url": "nosuch://127.0.0.1"}),
    ],
)
def test_nonsense_is_refused(kind: str, target: dict[str, Any]) -> None:
    """Settings that cannot work are refused when they are made, and the message repeats no value."""
    with pytest.raises(UsageError) as caught:
        open_channel(kind, read_target(kind, target))
    assert "127.0.0.1" not in caught.value.what
