"""The inode flags of Linux by name: also a restore elsewhere says which it cannot set."""

from typing import Final

IMMUTABLE: Final = 0x00000010
APPEND_ONLY: Final = 0x00000020
CASE_FOLDED: Final = 0x40000000

FLAG_NAMES: Final = {
    0x00000001: "secure deletion",
    0x00000002: "undeletable",
    0x00000004: "compressed",
    0x00000008: "synchronous",
    IMMUTABLE: "immutable",
    APPEND_ONLY: "append only",
    0x00000040: "no dump",
    0x00000080: "no atime",
    0x00000400: "not compressed",
    0x00004000: "journalled data",
    0x00008000: "no tail merging",
    0x00010000: "synchronous directory",
    0x00020000: "top of a directory hierarchy",
    0x00800000: "no copy on write",
    0x02000000: "direct access",
    0x20000000: "project inherited",
    CASE_FOLDED: "case folded",
}
"""The inode flags that a user can set, as ioctl_iflags(2) and chattr(1) list them."""

USER_FLAGS: Final = sum(FLAG_NAMES)

PROTECTED: Final = IMMUTABLE | APPEND_ONLY
"""They forbid changes."""
