"""Capturing what Windows knows of a file beyond its stat."""

import sys
from typing import Final

from backstay.domain.entry import Entry
from backstay.filesystem.extras import Extras
from backstay.filesystem.nt_file_windows import WindowsFile
from backstay.filesystem.windows_facts import DIRECTORY, REPARSE, attributes_of, capture
from backstay.system import windows_calls as os
from backstay.system.nt_stat import Status
from backstay.system.windows_open import raw_handle, target_of

assert sys.platform == "win32"

CARRIES_MODES: Final = False
TIME_GRAIN_NS: Final = 100


def lift_protection(fd: int) -> int:
    """Nothing: what is read-only is replaced and deleted all the same."""
    return 0


def protect(fd: int, flags: int) -> None:
    """Nothing, as nothing was lifted."""


def make_node(dir_fd: int, name: bytes, entry: Entry) -> None:
    """Make the symbolic link, junction or other reparse point `name` of the open directory. Raises OSError.

    One from Windows is made from its own bytes; a symbolic link from elsewhere leads to a folder where its
    target is one now.
    """
    root, text = target_of(name, dir_fd)
    if data := dict(entry.xattrs).get(REPARSE):
        os.make_reparse(root, text, data, folder=bool((attributes_of(entry) or 0) & DIRECTORY))
    elif entry.is_symlink:
        os.symlink(entry.inline or b"", name, dir_fd=dir_fd)
    else:
        os.mknod(name, entry.mode, dir_fd=dir_fd)


class ExtrasReader:
    """Captures extras for the length of one job."""

    def of_open(self, fd: int, st: Status) -> Extras:
        """Extras of an open regular file or directory whose fstat is `st`. Never raises OSError."""
        return capture(WindowsFile(raw_handle(fd)))

    def of_named(self, dir_fd: int, name: bytes, st: Status) -> Extras:
        """Extras of the reparse point `name` of the open directory. Never raises OSError."""
        return capture(WindowsFile(*target_of(name, dir_fd)), is_link=True)
