"""What is at the target before a restore. Looks, and changes nothing."""

from datetime import datetime

from backstay.domain.errors import TargetError
from backstay.filesystem.opening import DirectoryChain
from backstay.filesystem.reasons import reason_of
from backstay.restore.existing import Existing, name_beside
from backstay.system.calls import os
from backstay.system.host import quoted_path


class TargetView:
    """The folders of the target, visited in the order of the walk. Use as a context.

    Args:
        target: its absolute path; it need not exist.
        existing: REFUSE demands that nothing is in it.

    Raises:
        TargetError: it is no folder, cannot be read, or is not empty where it must be.
    """

    def __init__(self, target: bytes, existing: Existing) -> None:
        self._target = target
        self._names: list[bytes] = []
        self._top = _open_target(target, existing)
        self._chain = DirectoryChain(self._top) if self._top is not None else None
        self._dir_fd = -1

    @property
    def exists(self) -> bool:
        """Whether the target is there."""
        return self._top is not None

    def enter(self, names: list[bytes]) -> None:
        """Go to a folder that exists. Raises TargetError where it cannot be opened."""
        assert self._chain is not None
        self._names = names
        try:
            self._dir_fd = self._chain.open(names)
        except OSError as error:
            raise self._error(b"", "opened", error) from error

    def stat(self, name: bytes) -> os.stat_result | None:
        """The lstat of what has this name in the folder, or None. Raises TargetError."""
        try:
            return os.stat(name, dir_fd=self._dir_fd, follow_symlinks=False)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._error(name, "examined", error) from error

    def is_filled(self, name: bytes) -> bool:
        """Whether something is in the folder of this name. Raises TargetError."""
        try:
            fd = os.open(
                name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._dir_fd
            )
            try:
                return _has_entries(fd)
            finally:
                os.close(fd)
        except OSError as error:
            raise self._error(name, "examined", error) from error

    def free_name(self, name: bytes, now: datetime) -> bytes:
        """A name that tells of the restore and that nothing has. Raises TargetError."""
        attempt = 1
        while self.stat(beside := name_beside(name, now, attempt)) is not None:
            attempt += 1
        return beside

    def _error(self, name: bytes, what: str, error: OSError) -> TargetError:
        path = os.path.join(self._target, *self._names, name)
        return TargetError(
            f"{quoted_path(path)} cannot be {what}: {reason_of(error)}",
            hint="restore as root, or to another place",
        )

    def __enter__(self) -> "TargetView":
        return self

    def __exit__(self, *_: object) -> None:
        if self._chain is not None:
            self._chain.close()
        if self._top is not None:
            os.close(self._top)


def _open_target(target: bytes, existing: Existing) -> int | None:
    """The open target, or None where there is nothing yet."""
    shown = os.fsdecode(target)
    try:
        fd = os.open(target, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except NotADirectoryError:
        raise TargetError(f"{shown!r} is not a folder", hint="restore into a folder") from None
    except OSError as error:
        raise TargetError(
            f"{shown!r} cannot be opened: {reason_of(error)}", hint="check the path and your rights there"
        ) from error
    if existing is Existing.REFUSE and _has_entries(fd):
        os.close(fd)
        raise TargetError(
            f"{shown!r} is not empty",
            hint="restore into an empty folder, or say what happens to what exists: "
            "overwrite, skip or keep both",
        )
    return fd


def _has_entries(fd: int) -> bool:
    with os.scandir(fd) as found:
        return next(found, None) is not None
