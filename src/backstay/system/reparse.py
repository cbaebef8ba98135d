"""What lies in a reparse point (pure): MS-FSCC 2.1.2, https://learn.microsoft.com/openspecs/windows_protocols/ms-fscc/.

Symbolic links and junctions are restored from their own bytes on Windows, and by their target elsewhere.
"""

import struct
from typing import Final

from backstay.system.nt_stat import LX_SYMLINK, MOUNT_POINT, SYMLINK
from backstay.system.windows_paths import link_target, windows_target

_HEAD: Final = struct.Struct("<IHH")
_NAMES: Final = struct.Struct("<4H")
_RELATIVE: Final = 1
_NT: Final = "\\??\\"


def tag_of(data: bytes) -> int:
    """The kind; 0 where this is no reparse point."""
    tag: int = _HEAD.unpack_from(data)[0] if len(data) >= _HEAD.size else 0
    return tag


def mounted_volume(data: bytes) -> str:
    """`Volume{…}` where a whole volume is mounted, else nothing: then it is a junction."""
    if tag_of(data) != MOUNT_POINT:
        return ""
    target = _names(data, 8)[0]
    inner = target.removeprefix(_NT).rstrip("\\")
    return inner if inner.startswith("Volume{") and "\\" not in inner else ""


def target_of(data: bytes) -> bytes:
    """Where a symbolic link or junction leads, as a restore point has it.

    Of other kinds, whose data only Windows understands, words that say which it is.
    """
    tag = tag_of(data)
    if tag == LX_SYMLINK:
        return data[12 : 8 + _HEAD.unpack_from(data)[1]]
    if tag not in (SYMLINK, MOUNT_POINT):
        return b"reparse point 0x%08X" % tag
    substitute, shown = _names(data, 12 if tag == SYMLINK else 8)
    relative = tag == SYMLINK and bool(struct.unpack_from("<I", data, 16)[0] & _RELATIVE)
    text = substitute or shown
    if relative:
        return text.encode("utf-8", "surrogatepass").replace(b"\\", b"/")
    return link_target("\\\\?\\" + text.removeprefix(_NT) if text.startswith(_NT) else text)


def symlink_data(target: bytes) -> bytes:
    """The reparse point of a symbolic link to `target`, as a restore point has it."""
    text = windows_target(target)
    absolute = text[1:2] == ":" or text.startswith("\\\\")
    substitute = _NT + text.removeprefix("\\\\?\\") if absolute else text
    if absolute and text.startswith("\\\\") and not text.startswith("\\\\?\\"):
        substitute = _NT + "UNC\\" + text[2:]
    raw, shown = (part.encode("utf-16-le", "surrogatepass") for part in (substitute, text))
    names = _NAMES.pack(0, len(raw), len(raw), len(shown)) + struct.pack("<I", 0 if absolute else _RELATIVE)
    return _HEAD.pack(SYMLINK, len(names) + len(raw) + len(shown), 0) + names + raw + shown


def _names(data: bytes, skip: int) -> tuple[str, str]:
    """The substitute name and the print name; `skip` bytes lie between the head and the names."""
    if len(data) < 8 + _NAMES.size:
        return "", ""
    at, length, shown_at, shown_length = _NAMES.unpack_from(data, 8)
    path = data[8 + skip :]
    return (
        path[at : at + length].decode("utf-16-le", "surrogatepass"),
        path[shown_at : shown_at + shown_length].decode("utf-16-le", "surrogatepass"),
    )
