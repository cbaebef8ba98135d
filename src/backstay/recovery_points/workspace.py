"""A job's private place for mounts: nobody else sees it, and one call takes all of it away."""

import ctypes
import os
from contextlib import suppress
from pathlib import Path
from typing import Final

from backstay.domain.errors import SourceError

WORKSPACES: Final = Path("/run/backstay")
"""On a tmpfs that is empty after a restart (FHS 3.0, 3.15)."""

# mount(2), umount2(2); the numbers are those of linux/mount.h.
_RDONLY, _NOSUID, _NODEV, _NOEXEC = 1, 2, 4, 8
_REMOUNT, _NOATIME, _BIND, _PRIVATE = 32, 1024, 4096, 1 << 18
_DETACH = 2
_QUIET = _NOSUID | _NODEV | _NOEXEC | _NOATIME


class Workspace:
    """A folder `/run/backstay/NAME`; it comes into being with the first mount.

    It is mounted on itself as a private mount, so what is mounted in it does not spread
    to containers and services with mount namespaces of their own, where nobody could
    unmount it again.
    """

    def __init__(self, name: str, base: Path = WORKSPACES) -> None:
        self.path = base / name
        self._is_private = False

    def folder(self, name: str) -> bytes:
        """The path of a folder of the workspace, which need not be there yet."""
        return os.fsencode(self.path / name)

    def mount(self, source: bytes, name: str, fs_type: str, options: str, *, read_only: bool) -> bytes:
        """Mount a file system on the folder `name`.

        Raises:
            SourceError: it cannot be mounted.
        """
        folder = self.make(name)
        flags = _QUIET | (_RDONLY if read_only else 0)
        self._call(source, folder, fs_type.encode(), flags, options.encode())
        return folder

    def bind(self, source: bytes, target: bytes) -> None:
        """Show the folder `source` at the folder `target`, which is in the workspace, too, and read-only.

        Raises:
            SourceError: one of them is not there, or this process must not mount.
        """
        self._call(source, target, None, _BIND, None)
        self._call(None, target, None, _BIND | _REMOUNT | _RDONLY | _QUIET, None)

    def unmount(self, name: str) -> None:
        """Unmount the folder `name` and all below; nothing where it is not mounted."""
        _unmount(self.folder(name))

    def is_mounted(self, name: str) -> bool:
        """Whether another file system is mounted on the folder `name`."""
        return os.path.ismount(self.folder(name))

    def close(self) -> None:
        """Unmount everything in it and remove its folders. Never raises; may be called again."""
        while _unmount(os.fsencode(self.path)):
            self._is_private = False
        # Only folders that are empty go: whatever should still be mounted loses nothing.
        with suppress(OSError):
            for child in self.path.iterdir():
                child.rmdir()
            self.path.rmdir()

    def make(self, name: str) -> bytes:
        """Make the folder `name`, to bind something there. Raises SourceError."""
        folder = self.path / name
        try:
            if not self._is_private:
                self.path.parent.mkdir(mode=0o700, exist_ok=True)
                self.path.mkdir(mode=0o700, exist_ok=True)
                own = os.fsencode(self.path)
                self._call(own, own, None, _BIND, None)
                self._call(None, own, None, _PRIVATE, None)
                self._is_private = True
            folder.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise SourceError(f"{folder} cannot be made: {(error.strerror or '').lower()}") from error
        return os.fsencode(folder)

    def _call(
        self, source: bytes | None, target: bytes, fs_type: bytes | None, flags: int, options: bytes | None
    ) -> None:
        library = ctypes.CDLL(None, use_errno=True)
        if library.mount(source, target, fs_type, ctypes.c_ulong(flags), options) != 0:
            number = ctypes.get_errno()
            raise SourceError(
                f"{os.fsdecode(source or target)!r} cannot be mounted on {os.fsdecode(target)!r}: "
                f"{os.strerror(number).lower()}",
                hint="recovery points need root with the right to mount (CAP_SYS_ADMIN)",
            )


def _unmount(folder: bytes) -> bool:
    # Detached with all below it: a reader that hangs in it must not keep the rest from going.
    return bool(ctypes.CDLL(None, use_errno=True).umount2(folder, _DETACH) == 0)
