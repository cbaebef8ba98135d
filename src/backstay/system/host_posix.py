"""The machine as Linux shows it."""

import ctypes
import fcntl
import mmap
import os
import signal
import sys
import time
from pathlib import Path
from typing import Final

ENDING_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)
"""What asks a program to end; the last comes of `alarm_after`."""


_CLOCK_REALTIME_COARSE = 5
"""<linux/time.h>; Python has no name for it."""

TICK_NS = 20_000_000
"""No two ticks of a timer are further apart, where nothing is late."""


def lock_file(fd: int) -> None:
    """Lock an open file against other processes, until it is closed or the process ends: flock(2).

    Raises:
        BlockingIOError: another holds the lock.
        OSError.
    """
    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)


def process_is_alive(process: int) -> bool:
    """Whether a process of this id is there; True where that cannot be told."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def sync_filesystem(path: bytes) -> None:
    """Write back what the kernel holds of the filesystem on which `path` lies: syncfs(2).

    Never raises: a filesystem that cannot do it is as safe as it was.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return
    try:
        ctypes.CDLL(None).syncfs(fd)
    finally:
        os.close(fd)


def stamp_time_ns() -> int:
    """The time that a file would bear which is changed now, or an earlier one; nanoseconds since the epoch.

    Linux stamps files with its coarse clock, which stands between two timer ticks: clock_gettime(2).
    """
    if sys.platform == "linux":
        return time.clock_gettime_ns(_CLOCK_REALTIME_COARSE)
    return time.time_ns() - TICK_NS


def state_base() -> Path:
    """The folder in which programs of this user keep what they remember (XDG)."""
    base = os.environ.get("XDG_STATE_HOME")
    return Path(base) if base else Path.home() / ".local" / "state"


def service_base() -> Path:
    """The folder in which Backstay's services keep their data."""
    return Path("/var/lib/backstay")


def chosen_path(text: str) -> bytes:
    """The engine's path of a file or folder that a user named."""
    return os.fsencode(text)


def point_path(text: str) -> bytes:
    """A path inside a restore point as a user writes it: absolute, or relative to the working folder."""
    return os.path.abspath(os.fsencode(text))


def quoted_path(path: bytes) -> str:
    """A path in quotes, for messages, as users of this system write it."""
    return repr(os.fsdecode(path))


def alarm_after(seconds: float) -> None:
    """Raise the last of `ENDING_SIGNALS` in so many seconds; 0 calls it off."""
    signal.setitimer(signal.ITIMER_REAL, seconds)


def forget_pages(mapped: mmap.mmap) -> None:
    """Give back the memory of a mapped file that has been read: madvise(2)."""
    mapped.madvise(mmap.MADV_DONTNEED)


def end_group(leader: int) -> None:
    """End a process that leads a group, and the whole group: killpg(3)."""
    os.killpg(leader, signal.SIGKILL)
