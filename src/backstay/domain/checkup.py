"""What a look at a machine finds: for each thing it depends on, whether it is well, and how to mend it."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

from backstay.domain.errors import BackstayError

T = TypeVar("T")


class Health(StrEnum):
    """How a thing is, from well to bad."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True)
class Verdict:
    """What was found.

    Attributes:
        saw: what was looked at, and what was there.
        mend: what to do, where it is not well.
    """

    health: Health
    saw: str
    mend: str = ""


@dataclass(frozen=True)
class Check(Generic[T]):
    """One thing to look at, given what the room's doctor knows; it may have several verdicts, or none."""

    name: str
    look: Callable[[T], Iterable[Verdict]]


def ok(saw: str) -> Verdict:
    """All is well."""
    return Verdict(Health.OK, saw)


def warning(saw: str, mend: str) -> Verdict:
    """It works, and may not for long, or not as well as it could."""
    return Verdict(Health.WARNING, saw, mend)


def failed(saw: str, mend: str) -> Verdict:
    """It does not work."""
    return Verdict(Health.FAILED, saw, mend)


def examine(checks: Sequence[Check[T]], subject: T) -> Iterator[tuple[str, Verdict]]:
    """Make each check, one after the other; one that cannot be made has failed, and stops no other."""
    for check in checks:
        try:
            for verdict in check.look(subject):
                yield check.name, verdict
        except BackstayError as error:
            yield check.name, failed(error.what, error.hint)
        except OSError as error:
            place = f"{error.filename}: " if error.filename else ""
            yield (
                check.name,
                failed(f"{place}{error.strerror or error}", "check that it is there and may be used"),
            )


def worst(verdicts: Iterable[Verdict]) -> Health:
    """The worst of all; well where there is none."""
    ranks = list(Health)
    return max((one.health for one in verdicts), key=ranks.index, default=Health.OK)
