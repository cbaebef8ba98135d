"""What of a restore point cannot be carried over to the system that it is restored on, said beforehand."""

import sys
from collections import Counter
from typing import Final

from backstay.domain.entry import Entry
from backstay.restore.target_names import (
    WINDOWS_ATTRIBUTES,
    beside_its_like,
    folded,
    linux_name,
    windows_name,
)

ON_WINDOWS: Final = sys.platform == "win32"

_SECURITY: Final = b"system.ntfs_acl"
_REPARSE: Final = b"system.ntfs_reparse_data"
_STREAM: Final = b"backstay.stream."
_LINUX: Final = (b"system.posix_acl_", b"security.", b"trusted.")

_WORDS: Final = {
    "descriptors": "Windows security descriptors of {} cannot be kept on this system but on NTFS mounted by "
    "ntfs-3g: owner and access are those of new files",
    "attributes": "Windows attributes, creation time and short name of {} cannot be kept on this system "
    "but on NTFS mounted by ntfs-3g",
    "streams": "large alternate data streams of {} cannot be kept on this system",
    "modes": "owner, group and mode of {} cannot be kept on Windows: access is inherited from the folder",
    "lists": "access control lists, capabilities and labels of {} cannot be kept on Windows",
    "flags": "inode flags of {} cannot be kept on Windows",
    "special": "{} cannot be made on Windows: pipes, sockets and devices",
    "renamed": "{} cannot have the name that it had, and gets one by the rule in "
    "docs/decisions/0013-across-systems.md",
}


class CarryOver:
    """Looks at every entry of a restore.

    Args:
        original: the restore leads to the original place.
        with_permissions: owners, modes and access are to be restored.
        on_windows: whether the target is.
    """

    def __init__(
        self, *, original: bool = False, with_permissions: bool = True, on_windows: bool = ON_WINDOWS
    ) -> None:
        self._original = original
        self._with_permissions = with_permissions
        self._on_windows = on_windows
        self._counts: Counter[str] = Counter()

    def see(self, entry: Entry) -> None:
        """Count what of the entry stays behind."""
        if self._on_windows:
            self._see_on_windows(entry)
        elif entry.xattrs:
            self._see_on_linux(entry)

    def name(self, entry: Entry, taken: dict[str, bytes] | None, *, is_top: bool) -> bytes:
        """What the entry is called at the target.

        Args:
            taken: names of the folder so far, folded; this one is added. None where case tells names apart.
            is_top: it lies in no folder of the restore point.
        """
        if not self._on_windows:
            name = linux_name(entry.name)
        elif is_top and self._original:
            return entry.name
        else:
            name = windows_name(entry.name, from_windows=_is_from_windows(entry))
        if taken is not None and taken.setdefault(folded(name), entry.name) != entry.name:
            name = beside_its_like(name)
            taken[folded(name)] = entry.name
        if name != entry.name and not (is_top and name == entry.name[:1]):
            self._counts["renamed"] += 1
        return name

    def notes(self) -> list[str]:
        """One sentence for each thing that stays behind."""
        return [
            words.format(f"{count:,} file{'s' * (count != 1)}")
            for key, words in _WORDS.items()
            if (count := self._counts[key])
        ]

    def _see_on_linux(self, entry: Entry) -> None:
        for name, _ in entry.xattrs:
            if name == _SECURITY:
                self._counts["descriptors"] += self._with_permissions
            elif name == WINDOWS_ATTRIBUTES:
                self._counts["attributes"] += 1
            elif name.startswith(_STREAM):
                self._counts["streams"] += 1

    def _see_on_windows(self, entry: Entry) -> None:
        counts = self._counts
        if not _is_from_windows(entry):
            counts["modes"] += self._with_permissions
            counts["flags"] += self._with_permissions and entry.flags != 0
            listed = any(name.startswith(_LINUX) for name, _ in entry.xattrs)
            counts["lists"] += self._with_permissions and listed
        if not (entry.is_directory or entry.is_regular or entry.is_symlink):
            counts["special"] += not any(name == _REPARSE for name, _ in entry.xattrs)


def _is_from_windows(entry: Entry) -> bool:
    return any(name == WINDOWS_ATTRIBUTES for name, _ in entry.xattrs)
