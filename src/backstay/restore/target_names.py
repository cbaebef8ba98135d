"""What an entry is called at the target, where its own name cannot be had there. Decisions only.

The rule (docs/decisions/0013-across-systems.md): everything is restored, under a name that can be recognised
and that is the same every time. What Windows does not allow in names becomes what Services for Macintosh,
Cygwin and WSL make of it: the private character U+F000 + its number.
"""

import hashlib
import re
from typing import Final

WINDOWS_ATTRIBUTES: Final = b"system.ntfs_attrib"
"""The extended attribute that every entry from Windows has."""

_DRIVE: Final = re.compile(rb"[A-Za-z]:")
_FORBIDDEN: Final = re.compile(r'[\x01-\x1f"*:<>?\\|]')
_RESERVED: Final = re.compile(
    r"(con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³])( *\..*)?", re.IGNORECASE | re.DOTALL
)
_PRIVATE: Final = 0xF000
_MOST_BYTES: Final = 255
_MOST_UNITS: Final = 255


def linux_name(name: bytes) -> bytes:
    """The name on Linux: no more than 255 bytes."""
    return name if len(name) <= _MOST_BYTES else _shorter(name)


def windows_name(name: bytes, *, from_windows: bool) -> bytes:
    """The name on Windows.

    Args:
        from_windows: it was one there; then it is kept but for what would lead elsewhere.
    """
    if _DRIVE.fullmatch(name):
        return name[:1]
    text = _text(name)
    text = _FORBIDDEN.sub(lambda match: _private(match[0]), text)
    if not from_windows:
        if text[-1:] in {" ", "."}:
            text = text[:-1] + _private(text[-1])
        if (match := _RESERVED.fullmatch(text)) is not None:
            stem = match[1]
            text = stem[:-1] + _private(stem[-1]) + text[len(stem) :]
    found = text.encode("utf-8", "surrogatepass")
    return found if _units(text) <= _MOST_UNITS else _shorter(found, units=True)


def beside_its_like(name: bytes) -> bytes:
    """The name of the second of two that differ only in case, where that makes no difference."""
    return _marked(name, b"~" + _digest(name), units=True)


def folded(name: bytes) -> str:
    """Equal for names that Windows takes for one."""
    return name.decode("utf-8", "surrogateescape").upper()


def _text(name: bytes) -> str:
    try:
        return name.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        text = name.decode("utf-8", "surrogateescape")
        return re.sub("[\udc80-\udcff]", lambda match: chr(_PRIVATE + ord(match[0]) - 0xDC00), text)


def _private(character: str) -> str:
    return chr(_PRIVATE + ord(character))


def _units(text: str) -> int:
    return len(text) + sum(character > "\uffff" for character in text)


def _digest(name: bytes) -> bytes:
    return hashlib.blake2b(name, digest_size=4).hexdigest().encode()


def _shorter(name: bytes, *, units: bool = False) -> bytes:
    return _marked(name, b"~" + _digest(name), units=units)


def _marked(name: bytes, mark: bytes, *, units: bool) -> bytes:
    """The name with a mark before its extension, and no longer than it may be; characters stay whole."""
    stem, dot, extension = name.rpartition(b".")
    if not stem or len(extension) > 16:
        stem, dot, extension = name, b"", b""
    text = stem.decode("utf-8", "surrogateescape")
    room = _MOST_BYTES - len(mark + dot + extension)
    while (_units(text) if units else len(text.encode("utf-8", "surrogateescape"))) > room:
        text = text[:-1]
    return text.encode("utf-8", "surrogateescape") + mark + dot + extension
