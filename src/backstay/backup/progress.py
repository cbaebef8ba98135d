"""What a backup tells while it runs, and how it is told to stop."""

from typing import Protocol

from backstay.repository.details import StepRecord


class Progress(Protocol):
    """Listens to a backup. Every method may raise Cancelled to stop it."""

    def step_started(self, name: str) -> None:
        """A step has begun."""

    def step_ended(self, step: StepRecord) -> None:
        """A step has ended, whichever way."""

    def scanning(self, files: int, size: int, path: bytes) -> None:
        """The scan has seen this much, and is now in this folder. Called once a folder."""

    def transmitting(self, files: int, size: int, path: bytes) -> None:
        """This much of what the estimate announced has been read; `path` is the current file."""

    def message(self, text: str) -> None:
        """Something worth telling happened."""


class Silent:
    """Tells nobody."""

    def step_started(self, name: str) -> None:
        """Nothing."""

    def step_ended(self, step: StepRecord) -> None:
        """Nothing."""

    def scanning(self, files: int, size: int, path: bytes) -> None:
        """Nothing."""

    def transmitting(self, files: int, size: int, path: bytes) -> None:
        """Nothing."""

    def message(self, text: str) -> None:
        """Nothing."""
