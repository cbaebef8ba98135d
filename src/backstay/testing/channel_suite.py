"""What every notification channel must do, with a real receiver. A new one subclasses ChannelSuite."""

from abc import abstractmethod
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from backstay.domain.errors import DeliveryFailed
from backstay.server.alert_checks.finding import Severity
from backstay.server.notifications.message import AlertNote, Message
from backstay.server.notifications.registry import kind_of, open_channel, read_target

SECRET = "Zx-correct-horse-7361"
"""What must never be seen but by the receiver."""

NOON = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)


class Receiver:
    """A real service on the loopback address that channels send to.

    Attributes:
        taken: the text of each message that it has taken: subject and body.
        refusing: answer as a service does that will not take anything.
    """

    def __init__(self) -> None:
        self.taken: list[str] = []
        self.refusing = False


def message(number: int = 1, *, text: str = "fs1: data was not backed up", test: bool = False) -> Message:
    """A message about one new alert and one that is gone."""
    if test:
        return Message(f"m{number}", NOON, "https://backstay.test", is_test=True)
    new = AlertNote(1, "missed", Severity.CRITICAL, text, "back up now", NOON, None)
    gone = AlertNote(2, "failed", Severity.WARNING, "fs2: gone", "", NOON, NOON)
    return Message(f"m{number}", NOON, "https://backstay.test", raised=(new,), resolved=(gone,))


class ChannelSuite:
    """The promises of Channel, one test each."""

    kind: str

    @pytest.fixture
    @abstractmethod
    def receiver(self) -> Iterator[Receiver]:
        """A running receiver."""

    @abstractmethod
    def target(self, receiver: Receiver) -> dict[str, Any]:
        """Settings that reach it, with SECRET in them wherever a secret can be."""

    @abstractmethod
    def nowhere(self) -> dict[str, Any]:
        """Settings that reach nothing: a port on which nobody listens."""

    def _send(self, target: dict[str, Any], *messages: Message) -> None:
        channel = open_channel(self.kind, read_target(self.kind, target))
        for one in messages:
            channel.send(one)

    def test_it_tells_all_of_a_message(self, receiver: Receiver) -> None:
        """What is new, what is gone, what to do and where to look arrive, in one message."""
        self._send(self.target(receiver), message())
        assert len(receiver.taken) == 1
        for part in ("fs1: data was not backed up", "back up now", "fs2: gone", "backstay.test"):
            assert part in receiver.taken[0]

    def test_it_tells_names_that_are_no_ascii(self, receiver: Receiver) -> None:
        """A file server may have any name, and a text several lines."""
        self._send(self.target(receiver), message(text="Büro 東京: data\nwas missed"))
        assert "Büro 東京" in receiver.taken[0]

    def test_it_sends_again_and_again(self, receiver: Receiver) -> None:
        """One channel sends many messages, tests among them."""
        self._send(self.target(receiver), message(1), message(2), message(3, test=True))
        assert len(receiver.taken) == 3

    def test_a_refusal_is_a_failure(self, receiver: Receiver) -> None:
        """What the receiver does not take has failed, and the reason holds no secret."""
        receiver.refusing = True
        with pytest.raises(DeliveryFailed) as caught:
            self._send(self.target(receiver), message())
        assert SECRET not in caught.value.what + caught.value.hint
        assert receiver.taken == []

    def test_nobody_there_is_a_failure(self) -> None:
        """Where nobody listens sending fails soon, and the reason holds no secret."""
        with pytest.raises(DeliveryFailed) as caught:
            self._send(self.nowhere(), message())
        assert SECRET not in caught.value.what + caught.value.hint

    def test_what_is_shown_of_it_holds_no_secret(self, receiver: Receiver) -> None:
        """Settings as people and logs see them hide what is secret, and survive being sealed."""
        target = read_target(self.kind, self.target(receiver))
        assert SECRET not in str(target.shown()) + repr(target)
        assert target.secret_fields()
        assert kind_of(self.kind).target.model_validate(target.revealed()) == target
