"""One tree of exceptions.

    BackstayError
    ├── UsageError                the request itself is wrong                       exit 2
    │   └── RuleError             a content rule that cannot be understood
    ├── StorageError              named bytes could not be stored or fetched
    │   ├── ObjectNotFound
    │   ├── ObjectExists          a create-only put met other bytes of that name
    │   ├── StorageFull
    │   └── StorageUnavailable    may pass: worth another try
    ├── RepositoryError
    │   ├── NoRepository
    │   ├── RepositoryExists
    │   ├── UnsupportedVersion
    │   ├── WrongPassphrase
    │   ├── KeyMissing            the key at hand does not permit this
    │   ├── DamagedObject         bytes that are not what their name or seal says
    │   └── AlreadyRunning
    ├── SourceError               the files to be backed up cannot be reached
    ├── TargetError               the place to restore to cannot be used
    ├── ServerError               the control plane, or what was asked of it
    │   ├── NotFound              there is no such thing
    │   ├── Conflict              it does not go together with what is there
    │   │   └── JobStateError     a job cannot go from its state to the one wanted
    │   ├── NotSignedIn           nobody, or nobody any more, is behind the request
    │   ├── Forbidden             whoever asks may not do this
    │   ├── TooManyRequests
    │   ├── DeliveryFailed        a channel did not take a message; may pass
    │   └── ServerUnreachable     may pass: worth another try
    └── Cancelled

Every message says what happened and to what; the hint says what to do next.
"""


class BackstayError(Exception):
    """Root of all errors that Backstay raises on purpose.

    Args:
        what: one sentence: what happened, and to what.
        hint: one sentence: what the reader can do next; may be empty.
    """

    exit_code = 1
    retryable = False

    def __init__(self, what: str, *, hint: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint

    def __str__(self) -> str:
        return self.what


class UsageError(BackstayError):
    """The request itself is wrong; nothing was done."""

    exit_code = 2


class RuleError(UsageError):
    """A content rule that cannot be understood."""


class StorageError(BackstayError):
    """Named bytes could not be stored, fetched, listed or deleted."""


class ObjectNotFound(StorageError):
    """There is no object of that name."""

    def __init__(self, name: str, *, hint: str = "") -> None:
        super().__init__(f"there is no object {name} in the storage", hint=hint)
        self.name = name


class ObjectExists(StorageError):
    """A create-only put met an object of the same name with other bytes."""

    def __init__(self, name: str, *, hint: str = "") -> None:
        super().__init__(f"an object {name} with other content is already in the storage", hint=hint)
        self.name = name


class StorageFull(StorageError):
    """The storage has no room left."""


class StorageUnavailable(StorageError):
    """The storage did not answer, or failed in a way that may pass."""

    retryable = True


class RepositoryError(BackstayError):
    """The repository cannot do what was asked."""


class NoRepository(RepositoryError):
    """There is no Backstay repository at the place given."""


class RepositoryExists(RepositoryError):
    """There is already a repository at the place given."""


class UnsupportedVersion(RepositoryError):
    """Written by a newer Backstay than this one."""


class WrongPassphrase(RepositoryError):
    """No key slot opens with the passphrase given."""


class KeyMissing(RepositoryError):
    """The key at hand does not permit this (a write-only credential cannot read)."""


class DamagedObject(RepositoryError):
    """Stored bytes are not what their name, seal or structure says.

    Args:
        name: the object, as the storage names it.
        why: what is wrong with it, as a clause.
    """

    def __init__(self, name: str, why: str, *, hint: str = "") -> None:
        super().__init__(
            f"{name} is damaged: {why}",
            hint=hint or "run `backstay repo verify` to see which files it touches",
        )
        self.name = name
        self.why = why


class AlreadyRunning(RepositoryError):
    """Another process is doing what may be done only once at a time."""


class SourceError(BackstayError):
    """The files to be backed up cannot be reached."""


class TargetError(BackstayError):
    """The place to restore to cannot be used."""


class ServerError(BackstayError):
    """The control plane refuses, or cannot do, what was asked of it."""


class NotFound(ServerError):
    """There is no such thing."""


class Conflict(ServerError):
    """The request does not go together with what is there already."""


class JobStateError(Conflict):
    """A job cannot go from its state to the one wanted."""


class NotSignedIn(ServerError):
    """Nobody is behind the request: no credential, or one that does not hold any more."""


class Forbidden(ServerError):
    """Whoever asks may not do this."""


class TooManyRequests(ServerError):
    """Asked too often; the request may be repeated after a while.

    Args:
        retry_after: seconds to wait.
    """

    retryable = True

    def __init__(self, what: str, *, hint: str = "", retry_after: int = 60) -> None:
        super().__init__(what, hint=hint)
        self.retry_after = retry_after


class ServerUnreachable(ServerError):
    """The server did not answer, or failed in a way that may pass."""

    retryable = True


class DeliveryFailed(ServerError):
    """A notification channel did not take a message."""

    retryable = True


class Cancelled(BackstayError):
    """The job was cancelled."""
