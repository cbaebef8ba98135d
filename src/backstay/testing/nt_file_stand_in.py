"""A file of Windows in memory: what `NtFile` promises, with the side effects that Windows has."""

import errno
import os
from dataclasses import dataclass, field

from backstay.filesystem.windows_facts import COMPRESSED, READONLY, SPARSE

_NOW = 133_500_000_000_000_000


def refused(number: int) -> OSError:
    """An error of Windows."""
    return OSError(number, os.strerror(number))


@dataclass
class StandInFile:
    """As NTFS keeps it.

    Attributes:
        attributes, created, modified, descriptor, alternate, short, ea, point: what it has.
        refuses: methods, and the errno with which they fail.
        calls: the methods that changed something, in order.
    """

    attributes: int = 0x20
    created: int = _NOW
    modified: int = _NOW
    descriptor: bytes = b""
    alternate: dict[str, bytes] = field(default_factory=dict)
    short: str = ""
    ea: bytes = b""
    point: bytes = b""
    refuses: dict[str, int] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)

    def basic(self) -> tuple[int, int]:
        """As NtFile."""
        self._asked("basic")
        return self.attributes, self.created

    def set_basic(self, attributes: int, created: int, modified: int) -> None:
        """As NtFile: bits that belong to the file system stay as they are."""
        self._changed("set_basic")
        kept = self.attributes & (SPARSE | COMPRESSED | 0x10 | 0x400)
        self.attributes = kept | (attributes & ~0x80) or 0x80
        self.created = created or self.created
        self.modified = modified or self.modified

    def security(self) -> bytes:
        """As NtFile."""
        self._asked("security")
        return self.descriptor

    def set_security(self, descriptor: bytes) -> None:
        """As NtFile: the kernel's requests to inherit are not kept, and without them the marks go."""
        self._changed("set_security")
        control = int.from_bytes(descriptor[2:4], "little")
        for request, mark in ((0x0100, 0x0400), (0x0200, 0x0800)):
            if not control & request:
                control &= ~mark
            control &= ~request
        self.descriptor = descriptor[:2] + control.to_bytes(2, "little") + descriptor[4:]

    def streams(self) -> list[tuple[str, int]]:
        """As NtFile."""
        self._asked("streams")
        return [(name, len(content)) for name, content in self.alternate.items()]

    def read_stream(self, name: str, size: int) -> bytes:
        """As NtFile."""
        self._asked("read_stream")
        return self.alternate[name][:size]

    def write_stream(self, name: str, content: bytes) -> None:
        """As NtFile: it counts as writing to the file."""
        self._changed("write_stream")
        self.alternate[name] = content
        self.modified = _NOW + 1

    def remove_stream(self, name: str) -> None:
        """As NtFile."""
        self._changed("remove_stream")
        del self.alternate[name]

    def short_name(self) -> str:
        """As NtFile."""
        self._asked("short_name")
        return self.short

    def set_short_name(self, name: str) -> None:
        """As NtFile."""
        self._changed("set_short_name")
        self.short = name

    def extended(self) -> bytes:
        """As NtFile."""
        self._asked("extended")
        return self.ea

    def set_extended(self, data: bytes) -> None:
        """As NtFile."""
        self._changed("set_extended")
        self.ea = data

    def reparse(self) -> bytes:
        """As NtFile."""
        self._asked("reparse")
        return self.point

    def set_sparse(self) -> None:
        """As NtFile."""
        self._changed("set_sparse")
        self.attributes |= SPARSE

    def set_compressed(self) -> None:
        """As NtFile."""
        self._changed("set_compressed")
        self.attributes |= COMPRESSED

    def _asked(self, name: str) -> None:
        if name in self.refuses:
            raise refused(self.refuses[name])

    def _changed(self, name: str) -> None:
        self._asked(name)
        if self.attributes & READONLY and name not in ("set_basic", "set_security"):
            raise refused(errno.EACCES)
        self.calls.append(name)
