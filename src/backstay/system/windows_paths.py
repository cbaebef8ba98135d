r"""How Windows paths look inside the engine, and in restore points.

The engine knows one kind of path: bytes, absolute, separated by `/`, of any length.

| Windows | engine |
| --- | --- |
| `C:\Users\x` | `/C:/Users/x` |
| `\\server\share\x` | `/UNC/server/share/x` |
| `\\?\Volume{…}\x` | `/Volume{…}/x` |
| `\\?\GLOBALROOT\Device\HarddiskVolumeShadowCopy3\x` | `/GLOBALROOT/Device/HarddiskVolumeShadowCopy3/x` |

Names are WTF-8 (https://wtf-8.codeberg.page/): UTF-8, and a surrogate without its partner, which NTFS allows,
as the three bytes that UTF-8 would give it. So every name is kept, and can be given back.
"""

import ntpath
import posixpath
import re
from typing import Final

_DRIVE: Final = re.compile(rb"([A-Za-z]):(.*)", re.DOTALL)
_ENGINE: Final = re.compile(rb"/([A-Za-z]:|UNC|GLOBALROOT|Volume\{[0-9A-Fa-f-]+\})(/.*)?", re.DOTALL)
_PREFIXES: Final = (b"//?/", b"//./", b"/??/")


def name_of(text: str) -> bytes:
    """A name or path as bytes."""
    return text.encode("utf-8", "surrogatepass")


def text_of(name: bytes) -> str:
    """A name or path as Windows has it. Raises UnicodeDecodeError where it cannot be one."""
    return name.decode("utf-8", "surrogatepass")


def absolute(path: bytes, current: bytes = b"/C:") -> bytes:
    """The engine's path of what a user, or the engine itself, wrote.

    Args:
        path: as Windows or as the engine writes paths.
        current: the engine's path of the current folder.
    """
    if path == b"/" or _ENGINE.fullmatch(path):
        return _normal(path)
    plain = path.replace(b"\\", b"/")
    for prefix in _PREFIXES:
        if plain.startswith(prefix):
            plain = plain[len(prefix) :]
            return _normal(_of_drive(plain) or b"/" + plain)
    if plain.startswith(b"//"):
        return _normal(b"/UNC/" + plain[2:])
    if (found := _of_drive(plain)) is not None:
        return _normal(found)
    if plain.startswith(b"/"):
        return _normal(b"/" + current.split(b"/")[1] + plain)
    return _normal(current + b"/" + plain)


def _of_drive(plain: bytes) -> bytes | None:
    match = _DRIVE.fullmatch(plain)
    return b"/" + match[1].upper() + b":/" + match[2] if match else None


def _normal(path: bytes) -> bytes:
    """Without dots and double slashes; `..` leads out of no drive, share or device."""
    parts = [part for part in path.split(b"/") if part and part != b"."]
    fixed = 3 if parts[:1] in ([b"UNC"], [b"GLOBALROOT"]) else 1
    top = parts[:fixed]
    if top and top[0][1:] == b":":
        top[0] = top[0].upper()
    below = posixpath.normpath(b"/" + b"/".join(parts[fixed:])).strip(b"/")
    return b"/" + b"/".join([*top, below] if below else top)


def nt_path(path: bytes) -> str:
    r"""The path that the kernel's object manager knows, as `\??\C:\Users`, of an engine path other than `/`.

    https://learn.microsoft.com/windows-hardware/drivers/kernel/object-names
    """
    first, _, rest = path.lstrip(b"/").partition(b"/")
    if len(first) == 2:
        return "\\??\\" + text_of(first) + "\\" + text_of(rest).replace("/", "\\")
    below = text_of(rest).replace("/", "\\")
    # A volume's root is the path with a backslash at its end; without it the device itself is meant.
    is_root = first != b"UNC" and (not below or (first == b"GLOBALROOT" and below.count("\\") == 1))
    return "\\??\\" + text_of(first) + "\\" + below + ("\\" if is_root and below else "")


def windows_path(path: bytes) -> str:
    r"""An engine path as Windows users and programs write it, as `\\?\C:\Users` or `C:\Users` where short."""
    full = nt_path(path)[4:]
    if full.startswith("UNC\\"):
        return "\\\\" + full[4:]
    if full[1:2] == ":" and len(full) < 248:
        return full
    return "\\\\?\\" + full


def from_windows(text: str) -> bytes:
    """The engine's path of an absolute path that Windows gave."""
    return absolute(name_of(text))


def link_target(text: str) -> bytes:
    r"""The target of a symbolic link or junction as a restore point has it: `..\a` is `../a`."""
    if text.startswith("\\") or ntpath.isabs(text) or text[1:2] == ":":
        return absolute(name_of(text))
    return name_of(text).replace(b"\\", b"/")


def windows_target(target: bytes) -> str:
    """The other way round: what a symbolic link that leads to `target` says on Windows."""
    if _ENGINE.fullmatch(target):
        return windows_path(target)
    return text_of(target).replace("/", "\\")
