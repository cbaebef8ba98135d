"""Files under way: written beside the objects, and cleared away when their writer is gone.

An aside is named `<host>-<pid>-<instance>-<number>`. `<host>` stands for one run
of one machine and one pid namespace, so that a pid is only ever judged where it
means something: several machines, or containers, may share the folder.
"""

import contextlib
import hashlib
import itertools
import os
import platform
import re
import secrets
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from backstay.storage.file_bytes import write_all
from backstay.system.host import process_is_alive

STALE_AFTER = 24 * 3600.0
"""Seconds without a write after which an aside of another machine counts as abandoned."""

_NAME = re.compile(r"([0-9a-f]{12})-(\d+)-[0-9a-f]{8}-\d+")
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_LARGE = 1 << 20
"""Smaller files go through the page cache: for them a direct write is slower."""
_MODE = 0o400 if os.name == "posix" else 0o600


class Asides:
    """The folder of files under way of one storage."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._host = _host()
        self._instance = secrets.token_hex(4)
        self._numbers = itertools.count()

    @contextlib.contextmanager
    def written(self, views: Sequence[memoryview]) -> Iterator[Path]:
        """A new file that durably holds `views`; removed at the end unless moved away. Raises OSError."""
        path = self.folder / f"{self._host}-{os.getpid()}-{self._instance}-{next(self._numbers)}"
        fd = os.open(path, _CREATE, _MODE)
        try:
            try:
                _write(fd, views)
                os.fsync(fd)
            finally:
                os.close(fd)
            yield path
        finally:
            with contextlib.suppress(OSError):
                os.unlink(path)

    def sweep(self) -> None:
        """Remove what dead processes here, and long silent ones elsewhere, left behind. Raises OSError."""
        with os.scandir(self.folder) as entries:
            for entry in entries:
                match = _NAME.fullmatch(entry.name)
                if match and self._abandoned(match[1], int(match[2]), entry):
                    with contextlib.suppress(FileNotFoundError):
                        os.unlink(entry.path)

    def _abandoned(self, host: str, pid: int, entry: os.DirEntry[str]) -> bool:
        if host == self._host:
            return not process_is_alive(pid)
        try:
            return time.time() - entry.stat().st_mtime > STALE_AFTER
        except FileNotFoundError:
            return False


def _write(fd: int, views: Sequence[memoryview]) -> None:
    if hasattr(os, "O_DIRECT") and sum(view.nbytes for view in views) >= _LARGE:
        from backstay.storage.direct_write import write_direct

        write_direct(fd, views)
    else:
        write_all(fd, views)


def _host() -> str:
    parts = [platform.node()]
    with contextlib.suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text())
        parts.append(os.readlink("/proc/self/ns/pid"))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]
