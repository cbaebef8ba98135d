"""What an operating system's error means to somebody who stores objects."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from backstay.domain.errors import StorageError, StorageFull, StorageUnavailable


def _numbers(*names: str) -> frozenset[int]:
    """The errnos of these names; not every platform knows each."""
    return frozenset(getattr(errno, name) for name in names if hasattr(errno, name))


_MEANINGS: tuple[tuple[frozenset[int], type[StorageError], str], ...] = (
    (_numbers("ENOSPC", "EDQUOT"), StorageFull, "free some space or raise the quota, then run it again"),
    (_numbers("EIO", "EREMOTEIO"), StorageUnavailable, "check the disk, its cable and the kernel log"),
    (
        _numbers("EMFILE", "ENFILE", "ENOMEM", "ENOBUFS"),
        StorageUnavailable,
        "this machine is short of memory or open files; try again later",
    ),
    (
        _numbers(
            *("ESTALE", "ETIMEDOUT", "ETIME", "EAGAIN", "EBUSY", "EINTR", "ENOLINK", "ENOTCONN", "ENODEV"),
            *("ENXIO", "EHOSTDOWN", "EHOSTUNREACH", "ENETDOWN", "ENETUNREACH", "ENETRESET", "EPROTO"),
            *("ECONNRESET", "ECONNABORTED", "ECONNREFUSED", "ESHUTDOWN", "EPIPE", "ECOMM"),
        ),
        StorageUnavailable,
        "check that the disk or network share still answers",
    ),
    (
        _numbers("EACCES", "EPERM"),
        StorageError,
        "check the owner and the permissions of the folder and its files",
    ),
    (_numbers("EROFS"), StorageError, "the filesystem is read-only; mount it for writing"),
    (_numbers("EXDEV"), StorageError, "the whole storage folder must lie on one filesystem"),
    (_numbers("EFBIG"), StorageError, "this filesystem does not hold files of that size; use another"),
)


def storage_error(error: OSError, doing: str) -> StorageError:
    """The StorageError that says what `error` prevented.

    Args:
        error: as the operating system raised it.
        doing: the attempt, to follow "cannot": `store packs/ab/ab12 in /srv/backup`.
    """
    what = f"cannot {doing}: {error.strerror or error}"
    for numbers, kind, hint in _MEANINGS:
        if error.errno in numbers:
            return kind(what, hint=hint)
    return StorageError(what)


@contextmanager
def explaining(doing: str) -> Iterator[None]:
    """Within it, every OSError leaves as the StorageError of `storage_error(error, doing)`."""
    try:
        yield
    except OSError as error:
        raise storage_error(error, doing) from error
