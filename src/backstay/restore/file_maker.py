"""Making files below the target, one thread's part of it: keeps the current folder open."""

import stat
from typing import Final

from backstay.domain.entry import Entry
from backstay.filesystem.metadata import CARRIES_MODES, Owners
from backstay.filesystem.opening import DirectoryChain
from backstay.filesystem.reasons import raise_if_target_failed
from backstay.filesystem.writer import TreeWriter, write_at
from backstay.restore.existing import Action
from backstay.restore.folders import Folders, Places
from backstay.restore.spool import FileRecord
from backstay.storage.interface import Buffer
from backstay.system.calls import os

_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_SPECIAL: Final = stat.S_ISUID | stat.S_ISGID | stat.S_ISVTX


class FolderUnusable(Exception):
    """The folder of an entry could not be made; that has been told already."""


class FileMaker:
    """Makes whole files; one for each thread.

    Args:
        top: the open target.
        permissions: restore owners and modes.
    """

    def __init__(
        self, top: int, folders: Folders, tree: TreeWriter, owners: Owners, *, permissions: bool
    ) -> None:
        self.tree = tree
        self._folders = folders
        self._places = Places(folders)
        self._chain = DirectoryChain(top)
        self._owners = owners
        self._permissions = permissions
        self._folder = -1
        self._dir_fd = -1
        self._plain = False
        self._given: tuple[int, int] | None = None
        umask = os.umask(0o077)
        os.umask(umask)
        self._not_by_open = umask | _SPECIAL

    def enter(self, folder: int) -> int:
        """The open folder of this number, valid until the next call.

        Raises:
            FolderUnusable: it could not be made.
            OSError: it cannot be opened.
        """
        if folder == self._folder:
            return self._dir_fd
        if not self._folders.is_usable(folder):
            raise FolderUnusable
        self._folder = -1
        self._dir_fd = self._chain.open(self._places.components(folder))
        self._given, self._plain = None, self._permissions and CARRIES_MODES
        self._folder = folder
        return self._dir_fd

    @property
    def folder_path(self) -> bytes:
        """Where the folder entered last is, from the target on."""
        return b"/".join(self._places.components(max(self._folder, 0)))

    def path(self, folder: int, name: bytes) -> bytes:
        """Where `name` is, from the target on."""
        return b"/".join((*self._places.components(folder), name))

    def make(self, record: FileRecord, data: Buffer) -> list[str]:
        """Make the file, link or special file, whose whole content is `data`.

        Returns:
            What of its metadata could not be restored, as clauses without the path.

        Raises:
            FolderUnusable, OSError, TargetError.
        """
        dir_fd = self.enter(record.folder)
        entry = record.entry
        replace = record.action == Action.REPLACE
        if record.action == Action.REPLACE_FOLDER:
            os.rmdir(record.name, dir_fd=dir_fd)
        if not entry.is_regular:
            return self.tree.make_other(dir_fd, record.name, entry, replace=replace)
        if replace or not self._plain or entry.xattrs or entry.flags or len(data) != entry.size:
            return self.tree.write_small(dir_fd, record.name, entry, data, replace=replace)
        return self._make_plain(dir_fd, record.name, entry, data)

    def _make_plain(self, dir_fd: int, name: bytes, entry: Entry, data: Buffer) -> list[str]:
        """As `TreeWriter.write_small` for a file that has neither attributes nor flags, with fewer calls.

        What a folder gives to new files (owner, access control list) shows in the first that is made in it.
        """
        owner = self._owners.ids(entry.uid, entry.gid, entry.user, entry.group)
        mode = entry.mode & 0o7777
        by_open = owner == self._given and not mode & self._not_by_open
        try:
            fd = os.open(name, _NEW, mode if by_open else 0o600, dir_fd=dir_fd)
        except OSError as error:
            raise_if_target_failed(error)
            raise
        problems: list[str] = []
        try:
            if len(data):
                write_at(fd, 0, data)
            if self._given is None:
                st = os.fstat(fd)
                self._given = st.st_uid, st.st_gid
                self._plain = not os.listxattr(fd)
            if not self._plain or (owner != self._given and os.geteuid() != 0):
                problems = self.tree.finish_file(fd, entry)
            else:
                if owner != self._given:
                    os.fchown(fd, *owner)
                if not by_open:
                    os.fchmod(fd, mode)
                os.utime(fd, ns=(entry.mtime_ns, entry.mtime_ns))
        except BaseException:
            os.unlink(name, dir_fd=dir_fd)
            raise
        finally:
            os.close(fd)
        return problems

    def close(self) -> None:
        """Close the open folders."""
        self._chain.close()
