"""A Windows library without code, whose functions are those of other libraries.

Debian 12's wine lacks bcryptprimitives.dll, from which programs written in Rust get their random numbers.
PE format: https://learn.microsoft.com/windows/win32/debug/pe-format (the .edata section: forwarder RVA).
"""

import struct
from typing import Final

_BASE: Final = 0x1000
_HEADERS: Final = 0x200
_FILE_ALIGNMENT: Final = 512
_DIRECTORY: Final = 40


def forwarding_dll(name: str, functions: dict[str, str]) -> bytes:
    """The file.

    Args:
        name: the library's.
        functions: each exported name, and what it leads to, as `advapi32.SystemFunction036`.
    """
    exports = _exports(name, functions)
    room = -(-len(exports) // _FILE_ALIGNMENT) * _FILE_ALIGNMENT
    dos = b"MZ" + bytes(58) + struct.pack("<I", 64)
    # x64, one section; an executable image, large addresses, a library.
    coff = struct.pack("<HHIIIHH", 0x8664, 1, 0, 0, 0, 240, 0x2022)
    optional = struct.pack("<HBBIIIII", 0x20B, 14, 0, 0, room, 0, 0, _BASE)
    optional += struct.pack("<QII6H", 0x180000000, _BASE, _FILE_ALIGNMENT, 6, 0, 0, 0, 6, 0)
    optional += struct.pack("<4I2H", 0, _BASE * 2, _HEADERS, 0, 2, 0x160)
    optional += struct.pack("<4Q2I", 0x100000, 0x1000, 0x100000, 0x1000, 0, 16)
    optional += struct.pack("<2I", _BASE, len(exports)) + bytes(15 * 8)
    section = struct.pack("<8s6I2HI", b".rdata", len(exports), _BASE, room, _HEADERS, 0, 0, 0, 0, 0x40000040)
    head = (dos + b"PE\0\0" + coff + optional + section).ljust(_HEADERS, b"\0")
    return head + exports.ljust(room, b"\0")


def _exports(name: str, functions: dict[str, str]) -> bytes:
    names = sorted(functions)
    count = len(names)
    tables = _BASE + _DIRECTORY
    strings_at = tables + 10 * count
    strings = b""

    def place(text: str) -> int:
        nonlocal strings
        at = strings_at + len(strings)
        strings += text.encode() + b"\0"
        return at

    own = place(name)
    targets = [place(functions[each]) for each in names]
    titles = [place(each) for each in names]
    directory = struct.pack(
        "<2I2H7I", 0, 0, 0, 0, own, 1, count, count, tables, tables + 4 * count, tables + 8 * count
    )
    rows = struct.pack(f"<{2 * count}I{count}H", *targets, *titles, *range(count))
    return directory + rows + strings
