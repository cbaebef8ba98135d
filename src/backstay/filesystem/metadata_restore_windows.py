"""Giving a restored file on Windows what belongs to it."""

import sys

from backstay.domain.entry import Entry
from backstay.filesystem.nt_file_windows import WindowsFile
from backstay.filesystem.owners_windows import Owners
from backstay.filesystem.windows_facts import restore, restore_before_data
from backstay.system.windows_open import raw_handle, target_of

assert sys.platform == "win32"


class MetadataWriter:
    """Restores metadata; every method returns what could not be set and why, as clauses without the path.

    Args:
        owners: not used: owners are part of security descriptors.
        permissions: False leaves security descriptors as they are for any new file.
    """

    def __init__(self, owners: Owners, *, permissions: bool = True) -> None:
        self._permissions = permissions

    def before_data(self, fd: int, entry: Entry) -> None:
        """Set on an empty new file what decides how its data is stored: holes, compression."""
        restore_before_data(WindowsFile(raw_handle(fd)), entry)

    def restore_open(self, fd: int, entry: Entry) -> list[str]:
        """Restore all of an open regular file or directory, its content being complete."""
        return restore(WindowsFile(raw_handle(fd)), entry, permissions=self._permissions)

    def restore_named(self, dir_fd: int, name: bytes, entry: Entry) -> list[str]:
        """Restore the metadata of the reparse point `name` of the open directory."""
        return restore(WindowsFile(*target_of(name, dir_fd)), entry, permissions=self._permissions)

    def seal(self, fd: int, entry: Entry) -> list[str]:
        """Nothing comes last on Windows."""
        return []
