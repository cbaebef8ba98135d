"""Writing a restored tree, entry by entry, below open directories.

No path is ever followed: every call names one entry of an open directory. A file is written either under
its own name, where the restore itself has made the directory, or aside and then renamed over the old one,
so that a crash leaves the old file or the new one under that name, never half of it.

What concerns the whole target (disk full, read-only) is a TargetError; what concerns one entry is an OSError,
for which `reasons.reason_of` has words; what could not be restored of an entry that was made is returned as a
list of clauses without the path.
"""

import itertools
import stat
from typing import Final

from backstay.domain.entry import Entry
from backstay.filesystem import metadata
from backstay.filesystem.inode_flags import CASE_FOLDED
from backstay.filesystem.metadata import MetadataWriter, Owners
from backstay.filesystem.opening import open_directory
from backstay.filesystem.reasons import raise_if_target_failed, reason_of
from backstay.system.calls import os

ASIDE_PREFIX: Final = b".backstay-restore-"
"""Names that start so are files that a restore has not finished."""

_NEW: Final = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_EXISTING: Final = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


class TreeWriter:
    """Makes directories, files, links and special files, and gives them their metadata.

    Args:
        owners: finds the numbers of users and groups.
        permissions: see `MetadataWriter`.
    """

    def __init__(self, owners: Owners, *, permissions: bool = True) -> None:
        self._metadata = MetadataWriter(owners, permissions=permissions)
        self._run = os.urandom(4).hex().encode()
        self._numbers = itertools.count()

    def make_directory(self, dir_fd: int, name: bytes, entry: Entry) -> bool:
        """Make sure that `name` is a directory which can be filled; True where it is new.

        It is open to its owner alone until `finish_directory`, which must follow. Of a directory that was
        there, the flags that forbid changes are taken away.

        Raises:
            NotADirectoryError: something else has that name.
            OSError, TargetError: see the module.
        """
        try:
            os.mkdir(name, 0o700, dir_fd=dir_fd)
        except FileExistsError:
            fd = open_directory(dir_fd, name)
            try:
                metadata.lift_protection(fd)
                mode = stat.S_IMODE(os.fstat(fd).st_mode)
                if mode & 0o700 != 0o700:
                    os.fchmod(fd, mode | 0o700)
            finally:
                os.close(fd)
            return False
        except OSError as error:
            raise_if_target_failed(error)
            raise
        if entry.flags & CASE_FOLDED:
            # Only an empty directory can be made case-folding; what is refused is told at its end.
            fd = open_directory(dir_fd, name)
            try:
                self._metadata.seal(fd, entry._replace(flags=CASE_FOLDED))
            finally:
                os.close(fd)
        return True

    def finish_directory(self, fd: int, entry: Entry) -> list[str]:
        """Restore the metadata of the open directory, when everything below it is finished."""
        return self._metadata.restore_open(fd, entry) + self._metadata.seal(fd, entry)

    def create_file(self, dir_fd: int, name: bytes, entry: Entry) -> int:
        """Make the empty regular file `name`, readable to its owner alone, and return it open.

        Raises:
            FileExistsError: the name is taken.
            OSError, TargetError: see the module.
        """
        try:
            fd = os.open(name, _NEW, 0o600, dir_fd=dir_fd)
        except OSError as error:
            raise_if_target_failed(error)
            raise
        if entry.flags or entry.xattrs:
            self._metadata.before_data(fd, entry)
        return fd

    def create_aside(self, dir_fd: int, entry: Entry) -> tuple[int, bytes]:
        """As `create_file`, under a name of its own in that directory, for `publish` to put in place."""
        name = self._aside_name()
        return self.create_file(dir_fd, name, entry), name

    def finish_file(self, fd: int, entry: Entry) -> list[str]:
        """Give the open file its full size and its metadata but for the flags, before `publish`.

        What was not written stays a hole. `seal` must follow.
        """
        if os.fstat(fd).st_size != entry.size:
            try:
                os.ftruncate(fd, entry.size)
            except OSError as error:
                raise_if_target_failed(error)
                raise
        return self._metadata.restore_open(fd, entry)

    def publish(self, dir_fd: int, aside: bytes, name: bytes) -> None:
        """Rename what was made aside to `name`, replacing in one step the file that may have that name.

        Raises:
            IsADirectoryError: `name` is a directory.
            OSError, TargetError: see the module.
        """
        try:
            os.rename(aside, name, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
        except PermissionError:
            if not lift_protection(dir_fd, name):
                raise
            os.rename(aside, name, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
        except OSError as error:
            raise_if_target_failed(error)
            raise

    def seal(self, fd: int, entry: Entry) -> list[str]:
        """Set the inode flags of the open file, after `publish`."""
        return self._metadata.seal(fd, entry)

    def write_small(
        self,
        dir_fd: int,
        name: bytes,
        entry: Entry,
        data: bytes | bytearray | memoryview,
        *,
        replace: bool,
    ) -> list[str]:
        """Restore the whole regular file `name` at once.

        Args:
            dir_fd: the open directory.
            name: its name there.
            entry: its metadata.
            data: all of its content.
            replace: write aside and rename; else the name must be free.
        """
        target = self._aside_name() if replace else name
        fd = self.create_file(dir_fd, target, entry)
        try:
            try:
                if data:
                    write_at(fd, 0, data)
                problems = self.finish_file(fd, entry)
                if replace:
                    self.publish(dir_fd, target, name)
            except BaseException:
                os.unlink(target, dir_fd=dir_fd)
                raise
            if entry.flags:
                problems += self.seal(fd, entry)
        finally:
            os.close(fd)
        return problems

    def make_other(self, dir_fd: int, name: bytes, entry: Entry, *, replace: bool) -> list[str]:
        """Make the symbolic link (target: `entry.inline`), fifo, socket or device `name`, with its metadata.

        A device that only root may make is told and left out.

        Args:
            dir_fd: the open directory.
            name: its name there.
            entry: its metadata.
            replace: make it aside and rename; else the name must be free.
        """
        target = self._aside_name() if replace else name
        try:
            metadata.make_node(dir_fd, target, entry)
        except PermissionError as error:
            if not (stat.S_ISCHR(entry.mode) or stat.S_ISBLK(entry.mode)):
                raise
            return [f"the device could not be made: {reason_of(error)}"]
        except OSError as error:
            raise_if_target_failed(error)
            raise
        try:
            problems = self._metadata.restore_named(dir_fd, target, entry)
            if replace:
                self.publish(dir_fd, target, name)
        except BaseException:
            os.unlink(target, dir_fd=dir_fd)
            raise
        return problems

    def make_link(self, dir_fd: int, name: bytes, to_dir_fd: int, to_name: bytes, *, replace: bool) -> None:
        """Make `name` another hard link to the finished file `to_name` of the open directory `to_dir_fd`.

        Raises:
            OSError, TargetError: see the module.
        """
        target = self._aside_name() if replace else name
        lifted = 0
        try:
            try:
                _link(to_name, target, to_dir_fd, dir_fd)
            except PermissionError:
                lifted = lift_protection(to_dir_fd, to_name)
                if not lifted:
                    raise
                _link(to_name, target, to_dir_fd, dir_fd)
            if replace:
                try:
                    self.publish(dir_fd, target, name)
                finally:
                    # A rename onto another link of the same file does nothing: rename(2).
                    discard(dir_fd, target)
        except OSError as error:
            raise_if_target_failed(error)
            raise
        finally:
            if lifted:
                _protect(to_dir_fd, to_name, lifted)

    def _aside_name(self) -> bytes:
        return b"%b%b-%x" % (ASIDE_PREFIX, self._run, next(self._numbers))


def reopen(dir_fd: int, name: bytes) -> int:
    """Open an unfinished file again to go on writing it. Raises OSError."""
    return os.open(name, _EXISTING, dir_fd=dir_fd)


def write_at(fd: int, offset: int, data: bytes | bytearray | memoryview) -> None:
    """Write all of `data` at `offset` of the open file.

    Raises:
        OSError, TargetError: see the module.
    """
    try:
        written = os.pwrite(fd, data, offset)
        if written == len(data):
            return
        rest = memoryview(data)
        while written < len(rest):
            written += os.pwrite(fd, rest[written:], offset + written)
    except OSError as error:
        raise_if_target_failed(error)
        raise


def discard(dir_fd: int, name: bytes) -> None:
    """Remove the file, link or special file `name`, also one that is immutable; nothing where there is none.

    Raises:
        OSError: it cannot be removed, or is a directory.
    """
    try:
        os.unlink(name, dir_fd=dir_fd)
    except FileNotFoundError:
        return
    except PermissionError:
        if not lift_protection(dir_fd, name):
            raise
        os.unlink(name, dir_fd=dir_fd)


def lift_protection(dir_fd: int, name: bytes) -> int:
    """Take from the file or directory `name` the flags that forbid changes; returns those that it had.

    Zero where it had none, is no file or directory, or the flags cannot be changed.
    """
    try:
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=dir_fd)
    except OSError:
        return 0
    try:
        kind = os.fstat(fd).st_mode
        return metadata.lift_protection(fd) if stat.S_ISREG(kind) or stat.S_ISDIR(kind) else 0
    finally:
        os.close(fd)


def _link(source: bytes, name: bytes, source_dir_fd: int, dir_fd: int) -> None:
    os.link(source, name, src_dir_fd=source_dir_fd, dst_dir_fd=dir_fd, follow_symlinks=False)


def _protect(dir_fd: int, name: bytes, flags: int) -> None:
    fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=dir_fd)
    try:
        metadata.protect(fd, flags)
    finally:
        os.close(fd)
