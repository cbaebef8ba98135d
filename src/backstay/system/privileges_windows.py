"""The rights of a backup program: to read and write what access lists forbid.

https://learn.microsoft.com/windows/win32/secauthz/privilege-constants
"""

import ctypes
import sys
from ctypes import wintypes
from typing import Final

assert sys.platform == "win32"

PRIVILEGES: Final = (
    "SeBackupPrivilege",
    "SeRestorePrivilege",
    "SeSecurityPrivilege",
    "SeTakeOwnershipPrivilege",
    "SeCreateSymbolicLinkPrivilege",
)
_ENABLED: Final = 0x2
_ADJUST_AND_QUERY: Final = 0x20 | 0x8


class _Privilege(ctypes.Structure):
    """TOKEN_PRIVILEGES of one."""

    _fields_ = (("count", wintypes.DWORD), ("id", ctypes.c_uint64), ("attributes", wintypes.DWORD))
    _pack_ = 4


def enable_privileges() -> list[str]:
    """Switch on those that the process holds, for as long as it runs; returns those that it does not hold."""
    advapi = ctypes.WinDLL("advapi32", use_last_error=True)
    kernel = ctypes.WinDLL("kernel32", use_last_error=True)
    kernel.GetCurrentProcess.restype = wintypes.HANDLE
    kernel.CloseHandle.argtypes = (wintypes.HANDLE,)
    advapi.OpenProcessToken.argtypes = (wintypes.HANDLE, wintypes.DWORD, ctypes.POINTER(wintypes.HANDLE))
    advapi.AdjustTokenPrivileges.argtypes = (
        *(wintypes.HANDLE, wintypes.BOOL, ctypes.POINTER(_Privilege)),
        *(wintypes.DWORD, ctypes.c_void_p, ctypes.c_void_p),
    )
    token = wintypes.HANDLE()
    if not advapi.OpenProcessToken(kernel.GetCurrentProcess(), _ADJUST_AND_QUERY, ctypes.byref(token)):
        return list(PRIVILEGES)
    missing = []
    for name in PRIVILEGES:
        wanted = _Privilege(1, 0, _ENABLED)
        id = ctypes.c_uint64()
        held = advapi.LookupPrivilegeValueW(None, name, ctypes.byref(id))
        wanted.id = id.value
        ctypes.set_last_error(0)
        held = held and advapi.AdjustTokenPrivileges(token, False, ctypes.byref(wanted), 0, None, None)
        # It succeeds also where nothing was switched on: the last error says so (ERROR_NOT_ALL_ASSIGNED).
        if not held or ctypes.get_last_error():
            missing.append(name)
    kernel.CloseHandle(token)
    return missing
