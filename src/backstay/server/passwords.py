"""Passwords: argon2id of them is kept, with the parameters that RFC 9106, 4 recommends second (64 MiB)."""

import secrets
import threading
import unicodedata
from functools import cache

from pwdlib import PasswordHash
from pwdlib.exceptions import PwdlibError
from pwdlib.hashers.argon2 import Argon2Hasher

from backstay.domain.errors import UsageError

LEAST_PASSWORD = 12
LONGEST_PASSWORD = 1000
_LEAST_DIFFERENT = 5

_ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"
"""Without what is mistaken for something else: l and 1, o and 0."""

_AT_ONCE = threading.BoundedSemaphore(4)
"""Each hash takes 64 MiB: a flood of sign-ins must wait, not fill the memory."""


@cache
def _hasher() -> PasswordHash:
    return PasswordHash((Argon2Hasher(),))


@cache
def _nobodys_hash() -> str:
    return _hasher().hash(secrets.token_urlsafe(16))


def check_rules(password: str, name: str) -> None:
    """Raises UsageError where that is no good password for the administrator called `name`."""
    plain = _normal(password)
    if len(plain) < LEAST_PASSWORD:
        raise UsageError(
            f"the password is shorter than {LEAST_PASSWORD} characters",
            hint="use several words, or let one be generated",
        )
    if len(plain) > LONGEST_PASSWORD:
        raise UsageError(
            f"the password is longer than {LONGEST_PASSWORD} characters", hint="use a shorter one"
        )
    if len(set(plain)) < _LEAST_DIFFERENT:
        raise UsageError("the password repeats a few characters", hint="use several words")
    if plain.casefold().replace(name.casefold(), "").strip(" 0123456789") == "":
        raise UsageError("the password is little more than the name", hint="use several words")


def generate() -> str:
    """A password of 20 letters and digits (100 bits), in groups that are easily typed."""
    groups = ["".join(secrets.choice(_ALPHABET) for _ in range(5)) for _ in range(4)]
    return "-".join(groups)


def hashed(password: str) -> str:
    """What is kept of a password."""
    with _AT_ONCE:
        return _hasher().hash(_normal(password))


def verified(password: str, kept: str | None) -> bool:
    """Whether it is the password of which `kept` was kept; takes as long where nothing was kept."""
    with _AT_ONCE:
        try:
            right = _hasher().verify(_normal(password)[:LONGEST_PASSWORD], kept or _nobodys_hash())
        except PwdlibError:
            return False
    return right and bool(kept)


def _normal(password: str) -> str:
    # NIST SP 800-63B, 3.1.1.2: keyboards write the same letters in different ways.
    return unicodedata.normalize("NFKC", password)
