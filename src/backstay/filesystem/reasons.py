"""Why the operating system refused something, in words that an administrator understands."""

import errno

from backstay.domain.errors import TargetError

_REASONS = {
    errno.EACCES: "permission denied",
    errno.EPERM: "operation not permitted",
    errno.EIO: "input/output error",
    errno.ENOENT: "vanished while the backup ran",
    errno.ESTALE: "vanished while the backup ran",
    errno.ENOTDIR: "became another kind of file while the backup ran",
    errno.EISDIR: "became another kind of file while the backup ran",
    errno.ELOOP: "became another kind of file while the backup ran",
    errno.ENXIO: "became another kind of file while the backup ran",
    errno.EBUSY: "in use by another process",
    errno.ETXTBSY: "in use by another process",
    errno.EAGAIN: "locked by another process",
    errno.ENAMETOOLONG: "name too long",
    errno.EMFILE: "too many open files",
    errno.ENFILE: "too many open files",
    errno.ENOMEM: "out of memory",
    errno.ENOSPC: "no space left on the disk",
    errno.EDQUOT: "disk quota exceeded",
    errno.EROFS: "the file system is read-only",
    errno.EOPNOTSUPP: "not supported by the file system",
    errno.ENOTTY: "not supported by the file system",
    errno.ETIMEDOUT: "the file system did not answer",
    errno.ENOTCONN: "the file system is not connected",
    errno.EUCLEAN: "the file system is damaged",
    errno.EBADMSG: "the file system is damaged",
    errno.EKEYREJECTED: "the encryption key is not there",
    errno.ENOKEY: "the encryption key is not there",
    errno.EEXIST: "something of that name is already there",
    errno.ENOTEMPTY: "the folder is not empty",
    errno.EMLINK: "too many hard links to one file",
    errno.EFBIG: "larger than the file system can hold",
    errno.EINVAL: "not accepted by the file system",
}

_STOPS_A_RESTORE = {
    errno.ENOSPC: "make room there, or restore to another place",
    errno.EDQUOT: "raise the quota, or restore to another place",
    errno.EROFS: "mount it writable, or restore to another place",
    errno.EIO: "check the disk there, or restore to another place",
}


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
