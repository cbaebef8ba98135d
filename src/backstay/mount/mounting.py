"""Mounting a repository on a folder, until it is unmounted or the process is told to end."""

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from backstay.domain.errors import BackstayError, TargetError
from backstay.mount.view import View
from backstay.repository.repository import Repository

_DEVICE: Final = Path("/dev/fuse")
_INSTALL: Final = "install it: `apt install fuse3`, `dnf install fuse3`"

_CACHE_SECONDS: Final = 60
"""The kernel may rely on names and attributes for this long; only lists of restore points ever change."""

_THREADS: Final = 10

_ENDING_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def mount(
    repository: Repository,
    folder: Path,
    *,
    ready: Callable[[], None],
    tell: Callable[[BackstayError], None],
    allow_other: bool = False,
) -> None:
    """Show the restore points in `folder`, read-only, until `umount` or SIGINT, SIGTERM, SIGHUP.

    To be called from the main thread. What was mounted is unmounted when this returns.

    Args:
        folder: an empty folder.
        ready: called once the mount is there, from another thread.
        tell: called for each damage that a reader meets, from several threads.
        allow_other: let other users in, as far as modes and owners let them read; without it
            only the user who mounts gets in, and reads everything.

    Raises:
        TargetError: FUSE is missing, or the folder cannot be mounted on.
        RepositoryError, StorageError.
    """
    check_folder(folder)
    check_fuse()
    try:
        import mfusepy

        from backstay.mount.operations import Operations
    except (ImportError, AttributeError, OSError) as error:
        raise TargetError(f"the library libfuse cannot be used: {error}", hint=_INSTALL) from error
    mounted = False

    def is_ready() -> None:
        nonlocal mounted
        mounted = True
        ready()

    operations = Operations(View(repository), ready=is_ready, tell=tell)
    with _ended_by_libfuse():
        try:
            mfusepy.FUSE(
                operations,
                os.fsdecode(folder),
                foreground=True,
                ro=True,
                fsname="backstay",
                subtype="backstay",
                use_ino=True,
                kernel_cache=True,
                attr_timeout=_CACHE_SECONDS,
                entry_timeout=_CACHE_SECONDS,
                allow_other=allow_other,
                default_permissions=allow_other,
                **_threads(mfusepy.fuse_version_major, mfusepy.fuse_version_minor),
            )
        except RuntimeError as error:
            # libfuse also ends with an error number when a signal made it unmount.
            if not mounted:
                raise TargetError(
                    f"{folder} could not be mounted on (libfuse ended with {error})",
                    hint="what libfuse said above tells why; --allow-other needs user_allow_other "
                    "in /etc/fuse.conf",
                ) from None


def check_folder(folder: Path) -> None:
    """Require an empty folder. Raises TargetError."""
    try:
        with os.scandir(folder) as entries:
            if next(entries, None) is not None:
                raise TargetError(
                    f"{folder} is not empty", hint="mount on an empty folder, for example a new one"
                )
    except FileNotFoundError:
        raise TargetError(f"there is no folder {folder}", hint=f"make it: mkdir '{folder}'") from None
    except NotADirectoryError:
        raise TargetError(f"{folder} is not a folder", hint="mount on an empty folder") from None
    except OSError as error:
        raise TargetError(
            f"{folder} cannot be mounted on: {error.strerror}",
            hint=f"a mount whose program was killed may be left there: umount '{folder}'",
        ) from None


def check_fuse() -> None:
    """Require what mounting needs from the system. Raises TargetError."""
    if not _DEVICE.exists():
        raise TargetError(
            f"this system has no FUSE: {_DEVICE} is missing",
            hint=f"{_INSTALL}, or `modprobe fuse`; in a container, start it with --device {_DEVICE}",
        )
    if os.geteuid() != 0 and not (shutil.which("fusermount3") or shutil.which("fusermount")):
        raise TargetError("without fusermount3 only root may mount", hint=_INSTALL)
    try:
        os.close(os.open(_DEVICE, os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        raise TargetError(
            f"{_DEVICE} cannot be opened: {error.strerror}", hint="ask for leave to use it, or mount as root"
        ) from None


def _threads(major: int, minor: int) -> dict[str, int]:
    """How many requests are answered at a time, where libfuse can be told (since 3.12).

    3.14 complains of its own default on standard error, unless idle threads are told as well.
    """
    if (major, minor) < (3, 12):
        return {}
    return {"max_threads": _THREADS, "max_idle_threads": _THREADS}


@contextmanager
def _ended_by_libfuse() -> Iterator[None]:
    """libfuse unmounts at signals, yet only at those whose handling nobody else has taken."""
    before = {number: signal.signal(number, signal.SIG_DFL) for number in _ENDING_SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
