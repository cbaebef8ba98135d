"""Every kind of storage, by the scheme of its location. A new one is one line in `FACTORIES`."""

import os
import re
from typing import Protocol
from urllib.parse import unquote, urlsplit

from backstay.domain.errors import UsageError
from backstay.storage.interface import Storage
from backstay.storage.local import LocalStorage


class Factory(Protocol):
    """Opens the storage at a location that is written with the factory's scheme."""

    def __call__(self, location: str, *, create: bool) -> Storage:
        """The storage; `create` makes the place where it is missing. Raises StorageError, UsageError."""


def _open_file_url(location: str, *, create: bool) -> Storage:
    """RFC 8089: `file:///srv/backup`, percent-encoded."""
    url = urlsplit(location)
    if url.netloc not in ("", "localhost") or not url.path.startswith("/"):
        raise UsageError(
            f"{location} does not name a folder of this machine",
            hint="write file:///folder, with three slashes, or the plain path",
        )
    return LocalStorage(unquote(url.path, errors="surrogateescape"), create=create)


def _open_s3(location: str, *, create: bool) -> Storage:
    """`s3://bucket/prefix`, whose bucket must be there: see s3_location.py. Tries again what may pass.

    AWS_MAX_ATTEMPTS, of AWS's SDK reference, says how often in all.
    """
    from backstay.storage.retrying import RetryingStorage
    from backstay.storage.s3_location import S3Location

    at = S3Location.parse(location, os.environ)
    try:
        from backstay.storage.s3 import S3Storage
    except ImportError:
        raise UsageError(
            "this installation of Backstay cannot use S3 storage: the package obstore is missing",
            hint="install it with: python -m pip install 'backstay[s3]'",
        ) from None
    attempts = os.environ.get("AWS_MAX_ATTEMPTS", "")
    return RetryingStorage(S3Storage(at), int(attempts) if attempts.isdecimal() and int(attempts) else 8)


FACTORIES: dict[str, Factory] = {
    "file": _open_file_url,
    "s3": _open_s3,
}

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")


def open_storage(location: str, *, create: bool = False) -> Storage:
    """The storage at `location`: a plain path, or a URL of one of the schemes in FACTORIES.

    Args:
        location: as the user wrote it.
        create: make the folder (or the like) where it is missing.

    Raises:
        UsageError: empty, or of an unknown scheme.
        StorageError: there is no such place, or it cannot be reached.
    """
    if not location:
        raise UsageError("no storage was named", hint="give the path of a folder")
    match = _SCHEME.match(location)
    if not match:
        return LocalStorage(location, create=create)
    factory = FACTORIES.get(match[1].lower())
    if factory is None:
        known = ", ".join(f"{scheme}://" for scheme in sorted(FACTORIES))
        raise UsageError(
            f"{location}: there is no kind of storage called {match[1]}://",
            hint=f"give the path of a folder, or one of {known}",
        )
    return factory(location, create=create)
