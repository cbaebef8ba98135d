"""Giving a restored file its owner, mode, extended attributes, times and flags, in the order that keeps them.

The kernel undoes some of these when others are set: a change of owner clears setuid and capabilities
(chown(2)), writing clears them too, any change but the last moves the modification time, and an immutable
file takes none of them. What cannot be set is told, and stops nothing.
"""

import errno
import os
import stat
from typing import Final

from backstay.domain.entry import Entry
from backstay.filesystem.inode_flags import FLAG_NAMES
from backstay.filesystem.metadata_posix import get_flags, path_at, set_flags
from backstay.filesystem.owners import Owners
from backstay.filesystem.reasons import reason_of

_FLAGS_BEFORE_DATA: Final = 0x00000004 | 0x00000400 | 0x00800000 | 0x02000000
_PERMISSIONS: Final = ("system.posix_acl_", "security.", "trusted.", "system.ntfs_acl")
_OF_WINDOWS: Final = (b"system.ntfs_", b"backstay.")
_TITLES: Final = {
    "system.posix_acl_access": "access control list",
    "system.posix_acl_default": "default access control list",
    "security.capability": "capabilities",
    "security.selinux": "SELinux label",
}


class MetadataWriter:
    """Restores metadata; every method returns what could not be set and why, as clauses without the path.

    Args:
        owners: finds the numbers of users and groups.
        permissions: False restores content, times and the user's own attributes only; owner, mode,
            access control lists, capabilities and flags are then as for any new file.
    """

    def __init__(self, owners: Owners, *, permissions: bool = True) -> None:
        self._owners = owners
        self._permissions = permissions
        umask = os.umask(0o077)
        os.umask(umask)
        self._plain_mode = 0o777 & ~umask

    def before_data(self, fd: int, entry: Entry) -> None:
        """Set on an empty new file what decides how its data is stored: compression, copy on write.

        What is refused here is told by `seal` and `restore_open`.
        """
        if not self._permissions:
            return
        early = entry.flags & _FLAGS_BEFORE_DATA
        if early:
            _add_flags(fd, early)
        for name, value in entry.xattrs:
            if name.startswith(b"btrfs."):
                _set_xattr(fd, name, value)

    def restore_open(self, fd: int, entry: Entry) -> list[str]:
        """Restore all but the flags of an open regular file or directory, its content being complete."""
        st = os.fstat(fd)
        problems: list[str] = []
        # Setting user attributes needs write permission, which the final mode may take away.
        self._set_xattrs(fd, entry, problems, users=True)
        if self._permissions:
            uid, gid = self._owners.ids(entry.uid, entry.gid, entry.user, entry.group)
            mode = stat.S_IMODE(entry.mode)
            if st.st_uid != uid or st.st_gid != gid:
                mode &= _change_owner(fd, uid, gid, problems)
        else:
            mode = self._plain_mode_of(entry)
        try:
            os.fchmod(fd, mode)
        except OSError as error:
            problems.append(f"permissions could not be set: {reason_of(error)}")
        self._remove_aliens(fd, entry, problems)
        self._set_xattrs(fd, entry, problems, users=False)
        try:
            os.utime(fd, ns=(entry.mtime_ns, entry.mtime_ns))
        except OSError as error:
            problems.append(f"times could not be set: {reason_of(error)}")
        return problems

    def restore_named(self, dir_fd: int, name: bytes, entry: Entry) -> list[str]:
        """Restore the metadata of the symbolic link, fifo, socket or device `name` of the open directory."""
        problems: list[str] = []
        path = path_at(dir_fd, name)
        self._set_xattrs(path, entry, problems, users=True)
        mode = stat.S_IMODE(entry.mode) if self._permissions else self._plain_mode_of(entry)
        if self._permissions:
            uid, gid = self._owners.ids(entry.uid, entry.gid, entry.user, entry.group)
            st = os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
            if st.st_uid != uid or st.st_gid != gid:
                mode &= _change_owner(name, uid, gid, problems, dir_fd)
        if not entry.is_symlink:
            _change_mode_of_special(dir_fd, name, entry, mode, problems)
        self._remove_aliens(path, entry, problems)
        self._set_xattrs(path, entry, problems, users=False)
        try:
            os.utime(name, ns=(entry.mtime_ns, entry.mtime_ns), dir_fd=dir_fd, follow_symlinks=False)
        except OSError as error:
            problems.append(f"times could not be set: {reason_of(error)}")
        return problems

    def seal(self, fd: int, entry: Entry) -> list[str]:
        """Set the inode flags, last of all: an immutable file cannot be changed, renamed or linked to.

        Flags that the new file has inherited from its folder stay.
        """
        if not entry.flags or not self._permissions:
            return []
        missing, reason = _add_flags(fd, entry.flags)
        if not missing:
            return []
        names = ", ".join(name for flag, name in FLAG_NAMES.items() if missing & flag)
        return [f"flags could not be set ({names}): {reason}"]

    def _plain_mode_of(self, entry: Entry) -> int:
        executable = entry.is_directory or entry.mode & stat.S_IXUSR
        return self._plain_mode if executable else self._plain_mode & 0o666

    def _set_xattrs(self, file: int | bytes, entry: Entry, problems: list[str], *, users: bool) -> None:
        for name, value in entry.xattrs:
            if name.startswith(b"user.") is users and self._wants(os.fsdecode(name)):
                problem = _set_xattr(file, name, value)
                if problem:
                    problems.append(problem)

    def _remove_aliens(self, file: int | bytes, entry: Entry, problems: list[str]) -> None:
        """Remove the attributes that the entry has not: a new file may inherit an access control list."""
        follow = isinstance(file, int)
        try:
            present = os.listxattr(file, follow_symlinks=follow)
        except OSError:
            return
        if not present:
            return
        wanted = {os.fsdecode(name) for name, _ in entry.xattrs}
        for name in present:
            if name in wanted or not self._wants(name) or _belongs_to_the_system(name):
                continue
            try:
                os.removexattr(file, name, follow_symlinks=follow)
            except OSError as error:
                if error.errno != errno.ENODATA:
                    problems.append(f"{_title(name)} could not be removed: {reason_of(error)}")

    def _wants(self, xattr: str) -> bool:
        return self._permissions or not xattr.startswith(_PERMISSIONS)


def _belongs_to_the_system(xattr: str) -> bool:
    """Whether the target's own system gives new files this attribute: security labels, compression."""
    return xattr.startswith(("security.", "btrfs.")) and xattr != "security.capability"


def _title(xattr: str) -> str:
    return _TITLES.get(xattr) or f"extended attribute {xattr}"


def _set_xattr(file: int | bytes, name: bytes, value: bytes) -> str:
    try:
        os.setxattr(file, name, value, follow_symlinks=isinstance(file, int))
    except OSError as error:
        if name.startswith(_OF_WINDOWS) and error.errno == errno.EOPNOTSUPP:
            # Only ntfs-3g takes these; the plan has said so.
            return ""
        return f"{_title(os.fsdecode(name))} could not be set: {reason_of(error)}"
    return ""


def _change_owner(
    file: int | bytes, uid: int, gid: int, problems: list[str], dir_fd: int | None = None
) -> int:
    """Change the owner; returns the mode bits that may be granted after it.

    Setuid and setgid speak of the owner: under another one they would grant what nobody meant to grant.
    """
    follow = isinstance(file, int)
    try:
        os.chown(file, uid, gid, dir_fd=dir_fd, follow_symlinks=follow)
    except OSError as error:
        problems.append(f"owner {uid}:{gid} could not be set: {reason_of(error)}")
    else:
        return 0o7777
    try:
        os.chown(file, -1, gid, dir_fd=dir_fd, follow_symlinks=follow)
    except OSError:
        return 0o1777
    return 0o3777


def _change_mode_of_special(dir_fd: int, name: bytes, entry: Entry, mode: int, problems: list[str]) -> None:
    # Linux before 6.6 has no chmod that does not follow links; a handle on the very inode does the same.
    try:
        handle = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=dir_fd)
        try:
            if stat.S_IFMT(os.fstat(handle).st_mode) == stat.S_IFMT(entry.mode):
                os.chmod(b"/proc/self/fd/%d" % handle, mode)
        finally:
            os.close(handle)
    except OSError as error:
        problems.append(f"permissions could not be set: {reason_of(error)}")


def _add_flags(fd: int, wanted: int) -> tuple[int, str]:
    """Add inode flags to those that are set; returns the ones that could not be set, and why."""
    try:
        present = get_flags(fd)
        if wanted & ~present:
            set_flags(fd, present | wanted)
        return 0, ""
    except OSError as error:
        reason = reason_of(error)
    missing = wanted
    # One flag that the target's file system does not know makes it refuse all; try each alone.
    for flag in FLAG_NAMES:
        if flag & wanted:
            try:
                set_flags(fd, get_flags(fd) | flag)
                missing &= ~flag
            except OSError as error:
                reason = reason_of(error)
    return missing, reason
