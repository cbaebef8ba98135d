"""Giving a restored file on Windows what belongs to it."""

import sys

from backstay.domain.entry import Entry
from backstay.filesystem.owners_windows import Owners
from backstay.filesystem.reasons import reason_of
from backstay.system import windows_calls as os

assert sys.platform == "win32"


class MetadataWriter:
    """Restores metadata; every method returns what could not be set and why, as clauses without the path."""

    def __init__(self, owners: Owners, *, permissions: bool = True) -> None:
        self._permissions = permissions

    def before_data(self, fd: int, entry: Entry) -> None:
        """Set on an empty new file what decides how its data is stored."""

    def restore_open(self, fd: int, entry: Entry) -> list[str]:
        """Restore all of an open regular file or directory, its content being complete."""
        try:
            os.utime(fd, ns=(entry.mtime_ns, entry.mtime_ns))
        except OSError as error:
            return [f"times could not be set: {reason_of(error)}"]
        return []

    def restore_named(self, dir_fd: int, name: bytes, entry: Entry) -> list[str]:
        """Restore the metadata of the reparse point `name` of the open directory."""
        try:
            os.utime(name, ns=(entry.mtime_ns, entry.mtime_ns), dir_fd=dir_fd)
        except OSError as error:
            return [f"times could not be set: {reason_of(error)}"]
        return []

    def seal(self, fd: int, entry: Entry) -> list[str]:
        """Nothing comes last on Windows."""
        return []
