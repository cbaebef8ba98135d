"""Why the operating system refused something, in words that an administrator understands."""

import errno

from backstay.domain.errors import TargetError


def _by_number(words: dict[str, str]) -> dict[int, str]:
    """By errno; not every platform has each."""
    return {getattr(errno, name): text for name, text in words.items() if hasattr(errno, name)}


_VANISHED = "vanished while the backup ran"
BECAME_ANOTHER_KIND = "became another kind of file while the backup ran"

_REASONS = _by_number(
    {
        "EACCES": "permission denied",
        "EPERM": "operation not permitted",
        "EIO": "input/output error",
        "ENOENT": _VANISHED,
        "ESTALE": _VANISHED,
        "ENOTDIR": BECAME_ANOTHER_KIND,
        "EISDIR": BECAME_ANOTHER_KIND,
        "ELOOP": BECAME_ANOTHER_KIND,
        "ENXIO": BECAME_ANOTHER_KIND,
        "EBUSY": "in use by another process",
        "ETXTBSY": "in use by another process",
        "EAGAIN": "locked by another process",
        "ENAMETOOLONG": "name too long",
        "EMFILE": "too many open files",
        "ENFILE": "too many open files",
        "ENOMEM": "out of memory",
        "ENOSPC": "no space left on the disk",
        "EDQUOT": "disk quota exceeded",
        "EROFS": "the file system is read-only",
        "EOPNOTSUPP": "not supported by the file system",
        "ENOTTY": "not supported by the file system",
        "ETIMEDOUT": "the file system did not answer",
        "ENOTCONN": "the file system is not connected",
        "EUCLEAN": "the file system is damaged",
        "EBADMSG": "the file system is damaged",
        "EKEYREJECTED": "the encryption key is not there",
        "ENOKEY": "the encryption key is not there",
        "EEXIST": "something of that name is already there",
        "ENOTEMPTY": "the folder is not empty",
        "EMLINK": "too many hard links to one file",
        "EFBIG": "larger than the file system can hold",
        "EINVAL": "not accepted by the file system",
    }
)

_STOPS_A_RESTORE = _by_number(
    {
        "ENOSPC": "make room there, or restore to another place",
        "EDQUOT": "raise the quota, or restore to another place",
        "EROFS": "mount it writable, or restore to another place",
        "EIO": "check the disk there, or restore to another place",
    }
)


def reason_of(error: OSError) -> str:
    """A short clause for `error`, as `permission denied`, to stand after a file's path."""
    if error.errno is None:
        return str(error)
    return _REASONS.get(error.errno) or (error.strerror or str(error)).lower()


def raise_if_target_failed(error: OSError) -> None:
    """Raise TargetError where `error` says that the whole target, not one file, cannot be written."""
    hint = _STOPS_A_RESTORE.get(error.errno or 0)
    if hint is not None:
        raise TargetError(f"the target cannot be written: {reason_of(error)}", hint=hint) from error


def is_vanished(reason: str) -> bool:
    """Whether the words say that there is nothing any more."""
    return reason == _VANISHED


def is_gone(reason: str) -> bool:
    """Whether the words say that what was seen is not there any more: nothing is, or something else."""
    return reason in (_VANISHED, BECAME_ANOTHER_KIND)
