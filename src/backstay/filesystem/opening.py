"""Reaching directories of any depth by open directories, never by a path.

A path is limited to 4096 bytes (PATH_MAX) and may lead anywhere once somebody swaps a folder for a symbolic
link; a chain of `openat` calls with O_NOFOLLOW has neither fault.
"""

from collections.abc import Sequence
from types import TracebackType
from typing import Final, Self

from backstay.system.calls import os

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MOST_OPEN: Final = 96


def open_directory(dir_fd: int, name: bytes) -> int:
    """Open the directory `name` of the open directory, not following a symbolic link.

    Raises:
        OSError: NotADirectoryError where it is something else.
    """
    try:
        return os.open(name, _DIRECTORY | os.O_NOATIME, dir_fd=dir_fd)
    except PermissionError:
        # Only the owner and root may leave the access time alone: open(2), O_NOATIME.
        return os.open(name, _DIRECTORY, dir_fd=dir_fd)


class DirectoryChain:
    """The open directories from a root down to where the work is at the moment.

    Going on in the same directory costs nothing, going to a neighbour one `openat`. However deep the tree,
    fewer than a hundred directories are open at once: the upper ones are closed first and reached from the
    root again when they are needed.

    Args:
        root_fd: an open directory; it stays the caller's.
        create: make what is not there, for its owner alone until its metadata is restored.
    """

    def __init__(self, root_fd: int, *, create: bool = False) -> None:
        self._root_fd = root_fd
        self._create = create
        self._components: tuple[bytes, ...] = ()
        # The open directories of the lowest levels: the last one belongs to the last component.
        self._fds: list[int] = []
        self._made: list[bool] = []

    def open(self, components: Sequence[bytes]) -> int:
        """The open directory `components` below the root; it is the chain's, and valid until the next call.

        Raises:
            OSError: it is not there, is no directory, or cannot be opened.
        """
        if components != self._components:
            self._go(tuple(components))
        return self._fds[-1] if self._fds else self._root_fd

    @property
    def is_new(self) -> bool:
        """Whether this chain made the current directory during its present stay in that branch."""
        return bool(self._made) and self._made[-1]

    def close(self) -> None:
        """Close every directory that the chain has opened."""
        self._cut(0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _go(self, wanted: tuple[bytes, ...]) -> None:
        is_next = wanted and wanted[:-1] == self._components
        if is_next and (self._fds or not self._components):
            self._descend(wanted[-1])
            return
        shared = 0
        for ours, theirs in zip(self._components, wanted, strict=False):
            if ours != theirs:
                break
            shared += 1
        self._cut(shared)
        if shared and not self._fds:
            made = self._made
            self._components, self._made = (), []
            for level in range(shared):
                self._descend(wanted[level])
                self._made[level] = made[level]
        for name in wanted[shared:]:
            self._descend(name)

    def _cut(self, depth: int) -> None:
        """Leave all but the upper `depth` components."""
        leaving = len(self._components) - depth
        if leaving > 0:
            for fd in self._fds[-leaving:]:
                os.close(fd)
            del self._fds[-leaving:], self._made[depth:]
            self._components = self._components[:depth]

    def _descend(self, name: bytes) -> None:
        parent = self._fds[-1] if self._fds else self._root_fd
        made = False
        if self._create:
            try:
                os.mkdir(name, 0o700, dir_fd=parent)
                made = True
            except FileExistsError:
                pass
        self._fds.append(open_directory(parent, name))
        self._made.append(made)
        self._components = (*self._components, name)
        if len(self._fds) > _MOST_OPEN:
            os.close(self._fds.pop(0))
