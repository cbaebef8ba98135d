"""Secrets at rest on Windows: DPAPI, https://learn.microsoft.com/windows/win32/api/dpapi/.

The key is this machine's, not a user's: enrolment is done by an administrator, the service runs as
LocalSystem. Any process of this machine that can read the file could open it, so the folder admits the
system and administrators alone. What it protects from is the file on another machine: a copied disk, a
backup of it.
"""

import base64
import binascii
import ctypes
import sys
from ctypes import wintypes
from pathlib import Path
from typing import Final

from backstay.filesystem.nt_file_windows import WindowsFile
from backstay.system import windows_calls as os
from backstay.system.windows_open import raw_handle

assert sys.platform == "win32"

_MARK: Final = "dpapi:"
_MACHINE_WITHOUT_QUESTIONS: Final = 0x4 | 0x1
_PURPOSE: Final = b"backstay agent"
_PRIVATE: Final = "D:P(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)"
"""Full access for LocalSystem and administrators, inherited by what is in the folder, and for nobody else."""


class _Blob(ctypes.Structure):
    """DATA_BLOB."""

    _fields_ = (("length", wintypes.DWORD), ("data", ctypes.c_void_p))


def hide(secret: str) -> str:
    """The secret as it may lie on the disk of this machine. Raises OSError."""
    return _MARK + base64.b64encode(_convert("CryptProtectData", secret.encode())).decode("ascii")


def reveal(kept: str) -> str:
    """The secret that was hidden. Raises OSError: it was hidden on another machine."""
    if not kept.startswith(_MARK):
        return kept
    try:
        sealed = base64.b64decode(kept.removeprefix(_MARK), validate=True)
    except binascii.Error as error:
        raise OSError("what DPAPI has sealed is damaged") from error
    return _convert("CryptUnprotectData", sealed).decode()


def make_private(folder: Path) -> None:
    """Admit the system and administrators alone to a folder and all that will be in it. Raises OSError."""
    advapi = ctypes.WinDLL("advapi32", use_last_error=True)
    descriptor, length = ctypes.c_void_p(), wintypes.ULONG()
    convert = advapi.ConvertStringSecurityDescriptorToSecurityDescriptorW
    if not convert(_PRIVATE, 1, ctypes.byref(descriptor), ctypes.byref(length)):
        raise ctypes.WinError(ctypes.get_last_error())
    try:
        data = ctypes.string_at(descriptor.value or 0, length.value)
    finally:
        _free(descriptor)
    fd = os.open(str(folder), os.O_RDONLY | os.O_DIRECTORY)
    try:
        WindowsFile(raw_handle(fd)).set_access(data)
    finally:
        os.close(fd)


def _convert(call: str, data: bytes) -> bytes:
    crypt = ctypes.WinDLL("crypt32", use_last_error=True)
    source, purpose = (ctypes.create_string_buffer(each, len(each)) for each in (data, _PURPOSE))
    plain = _Blob(len(data), ctypes.addressof(source))
    entropy = _Blob(len(_PURPOSE), ctypes.addressof(purpose))
    found = _Blob()
    arguments = (ctypes.byref(plain), None, ctypes.byref(entropy), None, None, _MACHINE_WITHOUT_QUESTIONS)
    if not getattr(crypt, call)(*arguments, ctypes.byref(found)):
        raise ctypes.WinError(ctypes.get_last_error())
    try:
        return ctypes.string_at(found.data, found.length)
    finally:
        _free(ctypes.c_void_p(found.data))


def _free(pointer: ctypes.c_void_p) -> None:
    release = ctypes.WinDLL("kernel32").LocalFree
    release.argtypes = (ctypes.c_void_p,)
    release(pointer)
