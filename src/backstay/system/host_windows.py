"""The machine as Windows shows it."""

import ctypes
import errno
import mmap
import os
import posixpath
import signal
import subprocess
import sys
import threading
import time
from _thread import interrupt_main
from ctypes import wintypes
from pathlib import Path
from typing import Final

from backstay.system.windows_open import absolute_here, raw_handle
from backstay.system.windows_paths import name_of, windows_path

assert sys.platform == "win32"

ENDING_SIGNALS: Final = (signal.SIGTERM, signal.SIGBREAK, signal.SIGINT)
"""What asks a program to end; the last comes of `alarm_after`."""

_alarms: Final[list[threading.Timer]] = []
_kernel: Final = ctypes.WinDLL("kernel32", use_last_error=True)
_kernel.OpenProcess.restype = wintypes.HANDLE
_kernel.LockFileEx.argtypes = (wintypes.HANDLE, *(wintypes.DWORD,) * 4, ctypes.c_void_p)
_kernel.GetExitCodeProcess.argtypes = (wintypes.HANDLE, ctypes.POINTER(wintypes.DWORD))
_kernel.CloseHandle.argtypes = (wintypes.HANDLE,)

_EXCLUSIVE, _AT_ONCE = 0x2, 0x1
_LOCK_AT: Final = 1 << 62
"""Far behind the content: a lock keeps others from reading what it covers (LockFileEx)."""
_QUERY: Final = 0x1000
_STILL_ACTIVE: Final = 259
_INVALID_PARAMETER: Final = 87
_LOCK_VIOLATION: Final = 33


TICK_NS = 20_000_000
"""No two interrupts of the timer are further apart: 15.6 ms is the default."""


def lock_file(fd: int) -> None:
    """Lock an open file against other processes, until it is closed or the process ends: LockFileEx.

    Raises:
        BlockingIOError: another holds the lock.
        OSError.
    """
    where = (ctypes.c_uint32 * 8)()
    where[4], where[5] = _LOCK_AT & 0xFFFFFFFF, _LOCK_AT >> 32
    if not _kernel.LockFileEx(raw_handle(fd), _EXCLUSIVE | _AT_ONCE, 0, 1, 0, where):
        if ctypes.get_last_error() == _LOCK_VIOLATION:
            raise BlockingIOError(errno.EAGAIN, "locked by another process")
        raise ctypes.WinError(ctypes.get_last_error())


def process_is_alive(process: int) -> bool:
    """Whether a process of this id is there; True where that cannot be told."""
    handle = _kernel.OpenProcess(_QUERY, False, process)
    if not handle:
        return ctypes.get_last_error() != _INVALID_PARAMETER
    try:
        code = wintypes.DWORD()
        return not _kernel.GetExitCodeProcess(handle, ctypes.byref(code)) or code.value == _STILL_ACTIVE
    finally:
        _kernel.CloseHandle(handle)


def sync_filesystem(path: bytes) -> None:
    """Nothing: the times of a file change with its mapped pages, and VSS writes volumes back by itself."""


def stamp_time_ns() -> int:
    """The time that a file would bear which is changed now, or an earlier one; nanoseconds since the epoch.

    The system's time stands between two timer interrupts (GetSystemTimeAsFileTime).
    """
    return time.time_ns() - TICK_NS


def state_base() -> Path:
    """The folder in which programs of this user keep what they remember, on this machine alone."""
    return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")


def service_base() -> Path:
    """The folder in which Backstay's services keep their data."""
    return Path(os.environ.get("PROGRAMDATA") or "C:\\ProgramData") / "Backstay"


def chosen_path(text: str) -> bytes:
    """The engine's path of a file or folder that a user named."""
    return absolute_here(name_of(text))


def point_path(text: str) -> bytes:
    """A path inside a restore point as a user writes it.

    One that begins with a slash is as the restore point has it, since that may come from Linux.
    """
    return posixpath.normpath(name_of(text)) if text.startswith("/") else absolute_here(name_of(text))


def quoted_path(path: bytes) -> str:
    r"""A path in quotes, for messages, as users of this system write it: 'C:\data'."""
    first = path.lstrip(b"/").partition(b"/")[0]
    if not path.startswith(b"/") or not (first == b"UNC" or first[1:] == b":"):
        return repr(os.fsdecode(path))
    return repr(windows_path(path)).replace("\\\\", "\\")


def alarm_after(seconds: float) -> None:
    """Raise the last of `ENDING_SIGNALS` in so many seconds; 0 calls it off."""
    for alarm in _alarms:
        alarm.cancel()
    _alarms.clear()
    if seconds:
        _alarms.append(threading.Timer(seconds, interrupt_main))
        _alarms[0].daemon = True
        _alarms[0].start()


def forget_pages(mapped: mmap.mmap) -> None:
    """Nothing: Windows trims what is mapped and not used by itself."""


def end_group(leader: int) -> None:
    """End a process, and all that it has started."""
    subprocess.run(["taskkill", "/T", "/F", "/PID", str(leader)], capture_output=True, check=False)
