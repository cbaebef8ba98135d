"""Which names an object may have: the same on every storage, so that a repository can move between them."""

import re

from backstay.domain.errors import StorageError

_PART = r"[A-Za-z0-9_][A-Za-z0-9_.=@,~-]{0,199}"
_NAME = re.compile(rf"{_PART}(/{_PART})*")
_PREFIX = re.compile(rf"({_PART}/)*")

is_part = re.compile(_PART).fullmatch
"""Whether a string can be one part of a name (truthy or None)."""


def check_name(name: str) -> str:
    """The name itself, if it is one.

    Each part is 1 to 200 letters, digits and `_ . = @ , ~ -` of ASCII, the first a letter, digit or `_`.
    So no name is absolute, climbs with `..`, or can meet what a storage keeps
    beside the objects (hidden folders, `lost+found`).

    Raises:
        StorageError: it is not such a name.
    """
    if not _NAME.fullmatch(name):
        raise StorageError(
            f"{name!r} cannot be the name of an object",
            hint="names are made of letters, digits and _ . = @ , ~ - in parts divided by /",
        )
    return name


def check_prefix(prefix: str) -> str:
    """The prefix itself, if it is empty or a name followed by `/`. Raises StorageError otherwise."""
    if not _PREFIX.fullmatch(prefix):
        raise StorageError(
            f"{prefix!r} cannot be the prefix of a listing", hint="it must end with / or be empty"
        )
    return prefix
