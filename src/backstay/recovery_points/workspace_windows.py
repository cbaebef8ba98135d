"""A job's views on Windows: nothing is mounted, as the engine's own paths lead where they are told to."""

import sys

from backstay.domain.errors import SourceError
from backstay.recovery_points.workspace import Workspace
from backstay.system import windows_calls as os
from backstay.system.reparse import mounted_volume
from backstay.system.windows_open import (
    close_handle,
    open_handle,
    read_reparse,
    show_view,
    show_volume,
    target_of,
)

assert sys.platform == "win32"

_READ_ATTRIBUTES = 0x80
_OPEN_REPARSE_POINT = 0x200000


class WindowsWorkspace(Workspace):
    """As Workspace; nothing of it outlives the process, so nothing has to be swept."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._name = name
        self._views: set[bytes] = set()
        self._volumes: list[str] = []

    def folder(self, name: str) -> bytes:
        """The path that a view has."""
        return b"/" + self._view(name)

    def make(self, name: str) -> bytes:
        """The path of a view to be."""
        return self.folder(name)

    def bind(self, source: bytes, target: bytes) -> None:
        """Let `target` lead to `source`: a view as a whole, or a folder in one on which a volume is mounted.

        Raises:
            SourceError: nothing is mounted there.
        """
        first, _, below = target.lstrip(b"/").partition(b"/")
        if not below:
            self._views.add(first)
            show_view(first, source)
            return
        try:
            handle = open_handle(*target_of(target, None), _READ_ATTRIBUTES, options=_OPEN_REPARSE_POINT)
            try:
                volume = mounted_volume(read_reparse(handle))
            finally:
                close_handle(handle)
        except OSError as error:
            raise SourceError(f"{os.fsdecode(target)!r} is no mount point in the recovery point") from error
        if source.lstrip(b"/").partition(b"/")[0] in self._views:
            self._volumes.append(volume)
            show_volume(volume, source)

    def unmount(self, name: str) -> None:
        """Let the view lead nowhere."""
        view = self._view(name)
        self._views.discard(view)
        show_view(view, None)

    def is_mounted(self, name: str) -> bool:
        """Whether the view leads somewhere."""
        return self._view(name) in self._views

    def close(self) -> None:
        """Let all views lead nowhere. May be called again."""
        for view in self._views:
            show_view(view, None)
        for volume in self._volumes:
            show_volume(volume, None)
        self._views.clear()
        self._volumes.clear()

    def _view(self, name: str) -> bytes:
        return f"backstay-{self._name}-{name}".encode()
