"""How a restore went."""

import builtins
from dataclasses import dataclass, field
from threading import Lock

from backstay.restore.spool import FileRecord
from backstay.system.calls import os


@dataclass(frozen=True)
class RestoreProblem:
    """Something that is not restored as it should be: its path at the target, and why."""

    path: bytes
    reason: str


@dataclass
class RestoreOutcome:
    """What was restored. Safe to use from several threads where a method says so.

    Attributes:
        target: the folder that was restored into.
        files, folders, links, others: regular files, folders, further hard links, and symbolic
            links, pipes, sockets and devices that were made.
        bytes: content that was written.
        problems: everything that is not as it should be.
        verified: files that were read again and are what was backed up; None where that was not asked.
    """

    target: builtins.bytes
    files: int = 0
    folders: int = 0
    links: int = 0
    others: int = 0
    bytes: int = 0
    problems: list[RestoreProblem] = field(default_factory=list)
    verified: int | None = None
    _lost: set[tuple[int, builtins.bytes]] = field(default_factory=set, repr=False)
    _lock: Lock = field(default_factory=Lock, repr=False, compare=False)

    @property
    def complete(self) -> bool:
        """Whether everything was restored as it was."""
        return not self.problems

    def failed(self, path: builtins.bytes, reason: str) -> None:
        """Name a problem; `path` is below the target. For any thread."""
        with self._lock:
            self.problems.append(RestoreProblem(os.path.join(self.target, path), reason))

    def lost(self, record: FileRecord, path: builtins.bytes, reason: str) -> None:
        """Name a file that is not there. For any thread."""
        with self._lock:
            self._lost.add((record.folder, record.name))
            self.problems.append(RestoreProblem(os.path.join(self.target, path), reason))

    def is_lost(self, folder: int, name: builtins.bytes) -> bool:
        """Whether the file of that name in the folder of that number was named as lost."""
        return (folder, name) in self._lost

    def count_other(self) -> None:
        """Count a symbolic link or special file. For any thread."""
        with self._lock:
            self.others += 1
