"""An open file of Windows, for real: `NtFile` over the calls of its kernel.

https://learn.microsoft.com/windows-hardware/drivers/ddi/ntifs/ (structures and information classes);
https://learn.microsoft.com/windows/win32/secauthz/security-information (parts of a security descriptor).
"""

import errno
import sys
from ctypes import byref, c_uint32, create_string_buffer
from typing import Final

from backstay.system import nt_api as nt
from backstay.system.nt_stat import BASIC
from backstay.system.nt_status import BUFFER_OVERFLOW, BUFFER_TOO_SMALL, NO_EAS_ON_FILE, status_error
from backstay.system.windows_open import close_handle, device_control, open_handle, read_reparse

assert sys.platform == "win32"

_PARTS: Final = 0x1 | 0x2 | 0x4 | 0x8
"""Owner, group, access list and audit list."""
_WITHOUT_AUDIT: Final = 0x1 | 0x2 | 0x4
_COMPRESSION_DEFAULT: Final = (1).to_bytes(2, "little")
_MOST: Final = 64 << 10


class WindowsFile:
    """An open file. Every method as in NtFile; what needs further rights opens it again.

    Args:
        root: a handle: of the file itself, or of the folder that holds `name`.
        name: empty for the file itself.
    """

    def __init__(self, root: int, name: str = "") -> None:
        self._root = root
        self._name = name

    def _open(self, access: int) -> int:
        return open_handle(self._root, self._name, access, options=nt.OPEN_REPARSE_POINT)

    def basic(self) -> tuple[int, int]:
        """As NtFile."""
        handle = self._open(nt.READ_ATTRIBUTES)
        try:
            data = _query(handle, nt.BASIC_INFORMATION, BASIC.size)
        finally:
            close_handle(handle)
        created, _, _, _, attributes = BASIC.unpack(data)
        return attributes, created

    def set_basic(self, attributes: int, created: int, modified: int) -> None:
        """As NtFile; the time of access becomes that of modification."""
        data = BASIC.pack(created, modified, modified, 0, attributes)
        self._set(nt.WRITE_ATTRIBUTES, nt.BASIC_INFORMATION, data)

    def security(self) -> bytes:
        """As NtFile; without the audit list where the process may not read it."""
        try:
            handle, parts = self._open(nt.READ_CONTROL | nt.ACCESS_SYSTEM_SECURITY), _PARTS
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.EACCES):
                raise
            handle, parts = self._open(nt.READ_CONTROL), _WITHOUT_AUDIT
        try:
            return _query_security(handle, parts)
        finally:
            close_handle(handle)

    def set_security(self, descriptor: bytes) -> None:
        """As NtFile; the audit list is left out where the process may not set it."""
        access, parts = nt.WRITE_DAC | nt.WRITE_OWNER, _WITHOUT_AUDIT
        try:
            handle, parts = self._open(access | nt.ACCESS_SYSTEM_SECURITY), _PARTS
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.EACCES):
                raise
            handle = self._open(access)
        try:
            status = nt.set_security(handle, parts, descriptor)
        finally:
            close_handle(handle)
        if status < 0:
            raise status_error(status)

    def set_access(self, descriptor: bytes) -> None:
        """Set the access list alone, and no longer inherit one."""
        handle = self._open(nt.WRITE_DAC)
        try:
            status = nt.set_security(handle, 0x4 | 0x80000000, descriptor)
        finally:
            close_handle(handle)
        if status < 0:
            raise status_error(status)

    def streams(self) -> list[tuple[str, int]]:
        """As NtFile: FILE_STREAM_INFORMATION, without the file's own content."""
        handle = self._open(nt.READ_ATTRIBUTES)
        try:
            data = _query(handle, nt.STREAM_INFORMATION, _MOST)
        finally:
            close_handle(handle)
        found = []
        at = 0
        while at + 24 <= len(data):
            step = int.from_bytes(data[at : at + 4], "little")
            length = int.from_bytes(data[at + 4 : at + 8], "little")
            size = int.from_bytes(data[at + 8 : at + 16], "little")
            full = data[at + 24 : at + 24 + length].decode("utf-16-le", "surrogatepass")
            name = full.removeprefix(":").removesuffix(":$DATA")
            if name and full.endswith(":$DATA"):
                found.append((name, size))
            if not step:
                break
            at += step
        return found

    def read_stream(self, name: str, size: int) -> bytes:
        """As NtFile."""
        handle = open_handle(self._root, f"{self._name}:{name}", nt.GENERIC_READ)
        try:
            room, answer = create_string_buffer(max(size, 1)), nt.IoStatus()
            at = (0).to_bytes(8, "little")
            status = nt.read_file(handle, None, None, None, byref(answer), room, size, at, None)
        finally:
            close_handle(handle)
        if status < 0 and size:
            raise status_error(status)
        return room.raw[: answer.information]

    def write_stream(self, name: str, content: bytes) -> None:
        """As NtFile."""
        handle = open_handle(
            self._root, f"{self._name}:{name}", nt.GENERIC_WRITE, nt.OVERWRITE_IF, nt.NON_DIRECTORY_FILE
        )
        try:
            answer, at = nt.IoStatus(), (0).to_bytes(8, "little")
            status = 0
            if content:
                status = nt.write_file(
                    handle, None, None, None, byref(answer), content, len(content), at, None
                )
        finally:
            close_handle(handle)
        if status < 0:
            raise status_error(status)

    def remove_stream(self, name: str) -> None:
        """As NtFile."""
        handle = open_handle(self._root, f"{self._name}:{name}", nt.DELETE)
        try:
            _set(handle, nt.DISPOSITION_INFORMATION, b"\1")
        finally:
            close_handle(handle)

    def short_name(self) -> str:
        """As NtFile: FILE_NAME_INFORMATION; nothing where the name itself is short."""
        handle = self._open(nt.READ_ATTRIBUTES)
        try:
            data = _query(handle, nt.ALTERNATE_NAME_INFORMATION, 4 + 2 * 260)
        except FileNotFoundError:
            return ""
        finally:
            close_handle(handle)
        length = int.from_bytes(data[:4], "little")
        return data[4 : 4 + length].decode("utf-16-le", "surrogatepass")

    def set_short_name(self, name: str) -> None:
        """As NtFile: needs SeRestorePrivilege."""
        raw = name.encode("utf-16-le", "surrogatepass")
        data = len(raw).to_bytes(4, "little") + raw
        self._set(nt.DELETE | nt.WRITE_ATTRIBUTES, nt.SHORT_NAME_INFORMATION, data)

    def extended(self) -> bytes:
        """As NtFile: NtQueryEaFile."""
        handle = self._open(nt.READ_EA)
        try:
            room, answer = create_string_buffer(_MOST), nt.IoStatus()
            status = nt.query_ea(handle, byref(answer), room, len(room), False, None, 0, None, True)
        finally:
            close_handle(handle)
        if status & 0xFFFFFFFF == NO_EAS_ON_FILE:
            return b""
        if status < 0:
            raise status_error(status)
        return room.raw[: answer.information]

    def set_extended(self, data: bytes) -> None:
        """As NtFile: NtSetEaFile."""
        handle = self._open(nt.WRITE_EA)
        try:
            status = nt.set_ea(handle, byref(nt.IoStatus()), data, len(data))
        finally:
            close_handle(handle)
        if status < 0:
            raise status_error(status)

    def reparse(self) -> bytes:
        """As NtFile."""
        handle = self._open(nt.READ_ATTRIBUTES)
        try:
            return read_reparse(handle)
        finally:
            close_handle(handle)

    def set_sparse(self) -> None:
        """As NtFile."""
        self._control(nt.SET_SPARSE, b"")

    def set_compressed(self) -> None:
        """As NtFile."""
        self._control(nt.SET_COMPRESSION, _COMPRESSION_DEFAULT)

    def _control(self, code: int, data: bytes) -> None:
        handle = self._open(nt.GENERIC_READ | nt.WRITE_DATA)
        try:
            device_control(handle, code, data)
        finally:
            close_handle(handle)

    def _set(self, access: int, kind: int, data: bytes) -> None:
        handle = self._open(access)
        try:
            _set(handle, kind, data)
        finally:
            close_handle(handle)


def _query(handle: int, kind: int, room_for: int) -> bytes:
    room, answer = create_string_buffer(room_for), nt.IoStatus()
    status = nt.query_information(handle, byref(answer), room, room_for, kind)
    if status < 0 and status & 0xFFFFFFFF != BUFFER_OVERFLOW:
        raise status_error(status)
    return room.raw[: answer.information] if kind == nt.STREAM_INFORMATION else room.raw


def _query_security(handle: int, parts: int) -> bytes:
    room, length = create_string_buffer(_MOST), c_uint32()
    status = nt.query_security(handle, parts, room, len(room), byref(length))
    if status & 0xFFFFFFFF == BUFFER_TOO_SMALL:
        room = create_string_buffer(length.value)
        status = nt.query_security(handle, parts, room, len(room), byref(length))
    if status < 0:
        raise status_error(status)
    return room.raw[: length.value]


def _set(handle: int, kind: int, data: bytes) -> None:
    status = nt.set_information(handle, byref(nt.IoStatus()), data, len(data), kind)
    if status < 0:
        raise status_error(status)
