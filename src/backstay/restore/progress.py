"""What a restore tells while it runs, and how it is told to stop."""

from typing import Protocol

PLAN, WRITE, FINISH, VERIFY = "plan", "write", "finish", "verify"


class Progress(Protocol):
    """Listens to a restore, in the thread that runs it. Every method may raise Cancelled to stop it."""

    def phase_started(self, name: str, files: int, size: int) -> None:
        """A phase has begun; this many files and bytes are before it, zero where that is not known."""

    def phase_ended(self, name: str, seconds: float) -> None:
        """A phase has ended."""

    def advanced(self, files: int, size: int, path: bytes) -> None:
        """So many files and bytes of the phase are done; `path`, at the target, is near where it works."""

    def message(self, text: str) -> None:
        """Something worth telling happened."""


class Silent:
    """Tells nobody."""

    def phase_started(self, name: str, files: int, size: int) -> None:
        """Nothing."""

    def phase_ended(self, name: str, seconds: float) -> None:
        """Nothing."""

    def advanced(self, files: int, size: int, path: bytes) -> None:
        """Nothing."""

    def message(self, text: str) -> None:
        """Nothing."""
