"""What Windows knows of a file beside its content: how it is captured, kept in an entry, and restored.

It is kept in the entry's extended attributes under the names that ntfs-3g gives them, as docs/format.md
says: https://github.com/tuxera/ntfs-3g/wiki/Using-Extended-Attributes. Windows itself is reached through
`NtFile`, the one seam; `nt_file_windows.py` is the real one, `backstay.testing.nt_file_stand_in` stands in
for it.
"""

import errno
import struct
from collections.abc import Callable
from typing import Final, Protocol

from backstay.domain.entry import Entry
from backstay.filesystem.extras import Extras
from backstay.filesystem.inode_flags import FLAG_NAMES
from backstay.filesystem.reasons import reason_of
from backstay.system.nt_stat import to_filetime

ATTRIBUTES: Final = b"system.ntfs_attrib"
CREATED: Final = b"system.ntfs_crtime"
SECURITY: Final = b"system.ntfs_acl"
REPARSE: Final = b"system.ntfs_reparse_data"
SHORT_NAME: Final = b"system.ntfs_dos_name"
EXTENDED: Final = b"system.ntfs_ea"
STREAM: Final = b"user."

MOST_BYTES: Final = 1 << 20
"""Streams and the rest of one file are kept up to this many bytes in all."""

# https://learn.microsoft.com/windows/win32/fileio/file-attribute-constants
READONLY, HIDDEN, SYSTEM, DIRECTORY, ARCHIVE = 0x1, 0x2, 0x4, 0x10, 0x20
TEMPORARY, SPARSE, COMPRESSED, NOT_INDEXED, ENCRYPTED = 0x100, 0x200, 0x800, 0x2000, 0x4000

_SETTABLE: Final = READONLY | HIDDEN | SYSTEM | ARCHIVE | TEMPORARY | NOT_INDEXED
_NORMAL: Final = 0x80
_NUMBER: Final = struct.Struct("<I")
_TIME: Final = struct.Struct("<Q")
_NOT_SUPPORTED: Final = (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)


class NtFile(Protocol):
    """An open file, folder or reparse point of Windows. Every method raises OSError.

    Attributes are as GetFileAttributes has them, times are FILETIMEs.
    """

    def basic(self) -> tuple[int, int]:
        """Attributes, and the time of creation."""

    def set_basic(self, attributes: int, created: int, modified: int) -> None:
        """Set them, and the time of modification; a time of 0 leaves what is there."""

    def security(self) -> bytes:
        """The self-relative security descriptor: owner, group, access list, audit list, label."""

    def set_security(self, descriptor: bytes) -> None:
        """Set all of it."""

    def streams(self) -> list[tuple[str, int]]:
        """Names and sizes of the alternate data streams."""

    def read_stream(self, name: str, size: int) -> bytes:
        """Up to `size` bytes of a stream."""

    def write_stream(self, name: str, content: bytes) -> None:
        """Make a stream, or replace its content."""

    def remove_stream(self, name: str) -> None:
        """Delete a stream."""

    def short_name(self) -> str:
        """The 8.3 name, or nothing."""

    def set_short_name(self, name: str) -> None:
        """Give it one."""

    def extended(self) -> bytes:
        """Extended attributes as FILE_FULL_EA_INFORMATION, or nothing."""

    def set_extended(self, data: bytes) -> None:
        """Set them."""

    def reparse(self) -> bytes:
        """The REPARSE_DATA_BUFFER."""

    def set_sparse(self) -> None:
        """Let it have holes."""

    def set_compressed(self) -> None:
        """Compress what is written to it."""


def capture(file: NtFile, *, is_link: bool = False) -> Extras:
    """What belongs to an open file, in the form of an entry. Never raises OSError.

    Args:
        is_link: it is a reparse point that is kept as such.
    """
    xattrs: list[tuple[bytes, bytes]] = []
    problems: list[str] = []

    def add(name: bytes, what: str, read: Callable[[], bytes]) -> None:
        try:
            value = read()
        except OSError as error:
            if error.errno not in _NOT_SUPPORTED:
                problems.append(f"its {what} could not be read: {reason_of(error)}")
            return
        if value:
            xattrs.append((name, value))

    try:
        attributes, created = file.basic()
    except OSError as error:
        return Extras(problem=f"its attributes could not be read: {reason_of(error)}")
    xattrs += [(ATTRIBUTES, _NUMBER.pack(attributes)), (CREATED, _TIME.pack(created))]
    add(SECURITY, "security descriptor", file.security)
    add(SHORT_NAME, "short name", lambda: file.short_name().encode("utf-8", "surrogatepass"))
    add(EXTENDED, "extended attributes", file.extended)
    if is_link:
        add(REPARSE, "reparse point", file.reparse)
    _capture_streams(file, xattrs, problems, sum(len(value) for _, value in xattrs))
    return Extras(tuple(sorted(xattrs)), 0, 0, "; ".join(problems))


def _capture_streams(file: NtFile, xattrs: list[tuple[bytes, bytes]], problems: list[str], used: int) -> None:
    try:
        streams = file.streams()
    except OSError as error:
        if error.errno not in _NOT_SUPPORTED:
            problems.append(f"its alternate data streams could not be listed: {reason_of(error)}")
        return
    for name, size in streams:
        used += size
        if used > MOST_BYTES:
            problems.append(f"its alternate data stream {name!r} ({size:,} bytes) is too large to be kept")
            used -= size
            continue
        try:
            content = file.read_stream(name, size)
        except OSError as error:
            problems.append(f"its alternate data stream {name!r} could not be read: {reason_of(error)}")
            continue
        xattrs.append((STREAM + name.encode("utf-8", "surrogatepass"), content))


def attributes_of(entry: Entry) -> int | None:
    """Its Windows attributes; None where it does not come from Windows."""
    value = dict(entry.xattrs).get(ATTRIBUTES, b"")
    return int(_NUMBER.unpack(value)[0]) if len(value) == _NUMBER.size else None


def restore_before_data(file: NtFile, entry: Entry) -> None:
    """Set on an empty new file what decides how its data is stored. What is refused is told by `restore`."""
    attributes = attributes_of(entry) or 0
    for bit, set_it in ((SPARSE, file.set_sparse), (COMPRESSED, file.set_compressed)):
        if attributes & bit:
            try:
                set_it()
            except OSError as error:
                if error.errno not in (*_NOT_SUPPORTED, errno.EACCES):
                    raise


def restore(file: NtFile, entry: Entry, *, permissions: bool) -> list[str]:
    """Give an open file what belongs to its entry; returns what could not be set, as clauses.

    Times and attributes come last, since all the rest changes them and a read-only file takes none of it.

    Args:
        permissions: False leaves the security descriptor as it is for any new file.
    """
    problems: list[str] = []
    known = dict(entry.xattrs)

    def do(what: str, act: Callable[[], None]) -> None:
        try:
            act()
        except OSError as error:
            problems.append(f"its {what} could not be set: {reason_of(error)}")

    _restore_streams(file, entry, problems)
    if ea := known.get(EXTENDED):
        do("extended attributes", lambda: file.set_extended(ea))
    if short := known.get(SHORT_NAME):
        do("short name", lambda: _set_short_name(file, short))
    if permissions and (descriptor := known.get(SECURITY)):
        do("security descriptor", lambda: file.set_security(restorable(descriptor)))
    attributes = attributes_of(entry)
    if attributes is None:
        attributes = ARCHIVE if entry.is_regular else 0
        if entry.is_regular and permissions and not entry.mode & 0o222:
            attributes |= READONLY
        problems += [
            f"flags could not be set ({name})" for bit, name in FLAG_NAMES.items() if entry.flags & bit
        ]
    elif attributes & ENCRYPTED and not entry.is_directory:
        problems.append("it was encrypted (EFS), and is restored without encryption")
    created = known.get(CREATED, b"")
    born = _TIME.unpack(created)[0] if len(created) == _TIME.size else 0
    settable = attributes & _SETTABLE or _NORMAL
    do("times and attributes", lambda: file.set_basic(settable, born, to_filetime(entry.mtime_ns)))
    return problems


def _restore_streams(file: NtFile, entry: Entry, problems: list[str]) -> None:
    wanted = {
        name.removeprefix(STREAM).decode("utf-8", "surrogateescape"): content
        for name, content in entry.xattrs
        if name.startswith(STREAM)
    }
    try:
        present = {name for name, _ in file.streams()}
    except OSError as error:
        present = set()
        if wanted and error.errno in _NOT_SUPPORTED:
            problems.append("its alternate data streams are not supported by the file system")
            return
    for name, content in wanted.items():
        if not name or any(sign in name for sign in "/\\:\0"):
            problems.append(f"it has an attribute {name!r}, which cannot be the name of a stream")
            continue
        try:
            file.write_stream(name, content)
        except OSError as error:
            problems.append(f"its alternate data stream {name!r} could not be written: {reason_of(error)}")
    for name in sorted(present - set(wanted)):
        try:
            file.remove_stream(name)
        except OSError as error:
            problems.append(f"its alternate data stream {name!r} could not be removed: {reason_of(error)}")


def _set_short_name(file: NtFile, short: bytes) -> None:
    name = short.decode("utf-8", "surrogatepass")
    if file.short_name() == name:
        return
    try:
        file.set_short_name(name)
    except OSError as error:
        # A volume without short names (fsutil 8dot3name), or another file has taken it: it is a convenience.
        if error.errno not in (*_NOT_SUPPORTED, errno.EEXIST):
            raise


# https://learn.microsoft.com/openspecs/windows_protocols/ms-dtyp/7d4dac05-9cef-4563-a058-f108abecce1d
_DACL_INHERIT, _SACL_INHERIT = 0x0100, 0x0200
_DACL_INHERITED, _SACL_INHERITED = 0x0400, 0x0800


def restorable(descriptor: bytes) -> bytes:
    """A security descriptor that keeps, when it is set, which entries of its lists are inherited.

    The kernel drops the mark AUTO_INHERITED unless AUTO_INHERIT_REQ asks for it (ZwSetSecurityObject).
    """
    if len(descriptor) < 20:
        return descriptor
    control = int.from_bytes(descriptor[2:4], "little")
    if control & _DACL_INHERITED:
        control |= _DACL_INHERIT
    if control & _SACL_INHERITED:
        control |= _SACL_INHERIT
    return descriptor[:2] + control.to_bytes(2, "little") + descriptor[4:]
