"""What is noted of a recovery point before it is made, so that no crash leaves one that nobody knows of.

A record is a file in a folder of the state. The process that made it holds a lock on it
(flock(2)) for as long as it lives: the kernel lets go whatever way it dies, so a lock
that can be had means a dead owner. A process id would do less: it is used again, and is
another one in another container. Whoever sweeps holds the lock meanwhile, so that two
sweepers never work on the same record.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from backstay.domain.errors import SourceError
from backstay.recovery_points.provider import RecoveryPoint
from backstay.storage.local import sync_folder
from backstay.system.calls import os
from backstay.system.host import lock_file

_SUFFIX = ".point"
_ASIDE = ".new"
_UNFINISHED_SECONDS = 3600


class Record(msgspec.Struct, frozen=True):
    """A recovery point that was to be made.

    Attributes:
        workspace: name of the job's workspace.
        process: id of the process that wrote this; for people.
    """

    workspace: str
    process: int
    point: RecoveryPoint


class Records:
    """The records in a folder, which is made when the first is written."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._held: dict[str, int] = {}

    def write(self, workspace: str, point: RecoveryPoint) -> None:
        """Note durably what is about to be made.

        Raises:
            SourceError: the note could not be made; then the recovery point must not be, either.
        """
        record = Record(workspace, os.getpid(), point)
        aside, final = self._folder / (point.name + _ASIDE), self._folder / (point.name + _SUFFIX)
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            fd = os.open(aside, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                lock_file(fd)
                os.write(fd, msgspec.json.encode(record))
                os.fsync(fd)
                aside.rename(final)
                self._sync()
            except OSError:
                os.close(fd)
                raise
        except OSError as error:
            raise SourceError(
                f"no recovery point is made, as it cannot be recorded in {self._folder}: {error.strerror}",
                hint="make room there, or choose another folder with BACKSTAY_STATE",
            ) from error
        self._held[point.name] = fd

    def remove(self, name: str) -> None:
        """Forget a recovery point that is gone. Never raises: a record that stays is swept later."""
        with suppress(OSError):
            (self._folder / (name + _SUFFIX)).unlink(missing_ok=True)
            self._sync()
        self.let_go(name)

    def let_go(self, name: str) -> None:
        """Keep the record, for the next sweep to deal with, and no longer claim to be working on it."""
        fd = self._held.pop(name, None)
        if fd is not None:
            os.close(fd)

    @contextmanager
    def abandoned(self) -> Iterator[list[Record]]:
        """The records of dead processes, for this process alone while the context lasts.

        Those that are to stay are dealt with by the next sweep; call `remove` for the others.
        """
        found: list[Record] = []
        try:
            for path in self._files():
                record = self._claim(path)
                if record is not None:
                    found.append(record)
            yield found
        finally:
            for record in found:
                self.let_go(record.point.name)

    def _files(self) -> list[Path]:
        try:
            found = sorted(self._folder.iterdir())
        except OSError:
            return []
        for path in found:
            if path.suffix == _ASIDE:
                self._drop_aside(path)
        return [path for path in found if path.suffix == _SUFFIX]

    def _drop_aside(self, path: Path) -> None:
        """A record that was never finished: nothing was made for it."""
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > _UNFINISHED_SECONDS:
                path.unlink()

    def _claim(self, path: Path) -> Record | None:
        try:
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            lock_file(fd)
            record = msgspec.json.decode(path.read_bytes(), type=Record)
            if "/" in record.workspace:
                raise msgspec.ValidationError
        except (OSError, msgspec.MsgspecError):
            # Locked by its owner, or just removed. A file that is not a record is left to whoever wrote it.
            os.close(fd)
            return None
        self._held[record.point.name] = fd
        return record

    def _sync(self) -> None:
        sync_folder(self._folder)
