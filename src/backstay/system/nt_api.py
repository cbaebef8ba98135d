"""The calls of the Windows kernel that files need, as ctypes reaches them. Nothing here decides anything.

Native calls, since only they open names below an open folder, with names of any length and content:
https://learn.microsoft.com/windows/win32/api/winternl/nf-winternl-ntcreatefile
https://learn.microsoft.com/windows-hardware/drivers/ddi/ntifs/
"""

import ctypes
import sys
from ctypes import wintypes
from typing import Final

assert sys.platform == "win32"

_ntdll: Final = ctypes.WinDLL("ntdll")
_P: Final = ctypes.c_void_p
_U: Final = ctypes.c_uint32
_H: Final = wintypes.HANDLE

# https://learn.microsoft.com/windows/win32/fileio/file-access-rights-constants
READ_DATA, WRITE_DATA, READ_EA, WRITE_EA = 0x1, 0x2, 0x8, 0x10
READ_ATTRIBUTES, WRITE_ATTRIBUTES = 0x80, 0x100
DELETE, READ_CONTROL, WRITE_DAC, WRITE_OWNER, SYNCHRONIZE = 0x10000, 0x20000, 0x40000, 0x80000, 0x100000
ACCESS_SYSTEM_SECURITY: Final = 0x01000000
GENERIC_READ: Final = READ_DATA | READ_EA | READ_ATTRIBUTES | READ_CONTROL | SYNCHRONIZE
GENERIC_WRITE: Final = WRITE_DATA | 0x4 | WRITE_EA | WRITE_ATTRIBUTES | READ_CONTROL | SYNCHRONIZE

SHARE_ALL: Final = 0x7

# NtCreateFile: dispositions and options.
OPEN, CREATE, OPEN_IF, OVERWRITE, OVERWRITE_IF = 1, 2, 3, 4, 5
DIRECTORY_FILE, SYNCHRONOUS, NON_DIRECTORY_FILE = 0x1, 0x20, 0x40
OPEN_FOR_BACKUP, OPEN_REPARSE_POINT = 0x4000, 0x200000

# FILE_INFORMATION_CLASS
BASIC_INFORMATION, RENAME_INFORMATION, LINK_INFORMATION = 4, 10, 11
NAMES_INFORMATION, DISPOSITION_INFORMATION, ALL_INFORMATION = 12, 13, 18
END_OF_FILE_INFORMATION, ALTERNATE_NAME_INFORMATION, STREAM_INFORMATION = 20, 21, 22
ATTRIBUTE_TAG_INFORMATION, SHORT_NAME_INFORMATION = 35, 40
DISPOSITION_INFORMATION_EX, RENAME_INFORMATION_EX, STAT_INFORMATION = 64, 65, 68

# FS_INFORMATION_CLASS
FS_VOLUME_INFORMATION, FS_FULL_SIZE_INFORMATION = 1, 7

# https://learn.microsoft.com/windows/win32/fileio/file-attribute-constants
ATTRIBUTE_READONLY, ATTRIBUTE_DIRECTORY, ATTRIBUTE_REPARSE = 0x1, 0x10, 0x400

# https://learn.microsoft.com/windows-hardware/drivers/ddi/ntifs/ (file system control codes)
SET_REPARSE_POINT, GET_REPARSE_POINT = 0x900A4, 0x900A8
SET_COMPRESSION, SET_SPARSE, QUERY_ALLOCATED_RANGES = 0x9C040, 0x900C4, 0x940CF


class UnicodeString(ctypes.Structure):
    """UNICODE_STRING: lengths in bytes."""

    _fields_ = (("length", ctypes.c_uint16), ("room", ctypes.c_uint16), ("buffer", _P))


class ObjectAttributes(ctypes.Structure):
    """OBJECT_ATTRIBUTES."""

    _fields_ = (
        ("length", _U),
        ("root", _P),
        ("name", ctypes.POINTER(UnicodeString)),
        ("attributes", _U),
        ("security", _P),
        ("quality", _P),
    )


class IoStatus(ctypes.Structure):
    """IO_STATUS_BLOCK."""

    _fields_ = (("status", _P), ("information", ctypes.c_size_t))


def _declared(name: str, *arguments: type) -> "ctypes._NamedFuncPointer":
    function = getattr(_ntdll, name)
    function.argtypes = arguments
    function.restype = ctypes.c_int32
    return function  # type: ignore[no-any-return]


create_file: Final = _declared("NtCreateFile", _P, _U, _P, _P, _P, _U, _U, _U, _U, _P, _U)
close: Final = _declared("NtClose", _H)
read_file: Final = _declared("NtReadFile", _H, _P, _P, _P, _P, _P, _U, _P, _P)
write_file: Final = _declared("NtWriteFile", _H, _P, _P, _P, _P, _P, _U, _P, _P)
query_information: Final = _declared("NtQueryInformationFile", _H, _P, _P, _U, _U)
set_information: Final = _declared("NtSetInformationFile", _H, _P, _P, _U, _U)
query_directory: Final = _declared(
    "NtQueryDirectoryFile", _H, _P, _P, _P, _P, _P, _U, _U, ctypes.c_ubyte, _P, ctypes.c_ubyte
)
query_volume: Final = _declared("NtQueryVolumeInformationFile", _H, _P, _P, _U, _U)
control: Final = _declared("NtFsControlFile", _H, _P, _P, _P, _P, _U, _P, _U, _P, _U)
flush: Final = _declared("NtFlushBuffersFile", _H, _P)
query_security: Final = _declared("NtQuerySecurityObject", _H, _U, _P, _U, _P)
set_security: Final = _declared("NtSetSecurityObject", _H, _U, _P)
query_ea: Final = _declared("NtQueryEaFile", _H, _P, _P, _U, ctypes.c_ubyte, _P, _U, _P, ctypes.c_ubyte)
set_ea: Final = _declared("NtSetEaFile", _H, _P, _P, _U)

query_by_name: Final = (
    _declared("NtQueryInformationByName", _P, _P, _P, _U, _U)
    if hasattr(_ntdll, "NtQueryInformationByName")
    else None
)
"""Windows 10 1709, Server 2019: what fstat gives, without opening the file."""


def named(root: int, name: str) -> ObjectAttributes:
    """The attributes of an object by its name below an open folder; `root` 0 for an absolute NT path."""
    # A ctypes array, not the string's own buffer: names may hold a surrogate without its partner.
    encoded = name.encode("utf-16-le", "surrogatepass")
    buffer = ctypes.create_string_buffer(encoded, len(encoded) + 2)
    text = UnicodeString(len(encoded), len(encoded), ctypes.addressof(buffer))
    found = ObjectAttributes(
        ctypes.sizeof(ObjectAttributes), root or None, ctypes.pointer(text), 0, None, None
    )
    # ctypes keeps what `name` points to alive, but not the characters behind the plain address.
    found.kept = buffer
    return found
