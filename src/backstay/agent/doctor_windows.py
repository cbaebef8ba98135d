"""Looks at what an agent on Windows depends on, and does for real what no build machine can.

Every check that needs a trial works below a new folder in the agent's, and takes it away again.
"""

import ctypes
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from backstay.domain.checkup import Check, Verdict, failed, ok, warning
from backstay.domain.errors import BackstayError
from backstay.filesystem.nt_file_windows import WindowsFile
from backstay.filesystem.windows_facts import COMPRESSED, SPARSE
from backstay.recovery_points.provider import RecoveryPoint
from backstay.recovery_points.registry import provider_for, read_mounts, workspace_named
from backstay.repository.chunker import Chunker
from backstay.system import windows_calls as os
from backstay.system.nt_stat import MOUNT_POINT
from backstay.system.reparse import symlink_data, target_of
from backstay.system.windows_open import missing_privileges, raw_handle
from backstay.system.windows_open import target_of as place_in

assert sys.platform == "win32"

_BORN: Final = 131_000_000_000_000_000
_WRITTEN: Final = 131_500_000_000_000_000
_NEW: Final = os.O_RDWR | os.O_CREAT | os.O_EXCL
_REPORT: Final = "please report it, with this line and `winver`: docs/windows.md says where"


@contextmanager
def _scratch(subject: Any) -> Iterator[int]:
    """An open folder that goes again."""
    folder = Path(tempfile.mkdtemp(prefix="doctor-", dir=subject.folder))
    fd = os.open(str(folder), os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield fd
    finally:
        # By open folders: what is in it has paths and names that few programs can open.
        _empty(fd)
        os.close(fd)
        os.rmdir(str(folder))


def _empty(folder: int) -> None:
    with os.scandir(folder) as entries:
        found = [(entry.name, entry.stat(follow_symlinks=False)) for entry in entries]
    for text, status in found:
        name = text.encode("utf-8", "surrogatepass")
        if not stat.S_ISDIR(status.st_mode):
            os.unlink(name, dir_fd=folder)
            continue
        below = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
        try:
            _empty(below)
        finally:
            os.close(below)
        os.rmdir(name, dir_fd=folder)


def _make(folder: int, name: bytes, content: bytes = b"") -> None:
    fd = os.open(name, _NEW, dir_fd=folder)
    os.pwrite(fd, content, 0)
    os.close(fd)


@contextmanager
def _opened(folder: int, name: bytes) -> Iterator[WindowsFile]:
    fd = os.open(name, os.O_RDONLY, dir_fd=folder)
    try:
        yield WindowsFile(raw_handle(fd))
    finally:
        os.close(fd)


def rights(subject: Any) -> Iterator[Verdict]:
    """The process has a backup program's privileges."""
    if missing_privileges:
        yield failed(
            f"this process lacks {', '.join(missing_privileges)}",
            "run it as an administrator; the service runs as LocalSystem, which has them",
        )
    else:
        yield ok("holds SeBackup, SeRestore, SeSecurity and the other privileges of a backup")


def chunker(subject: Any) -> Iterator[Verdict]:
    """The native chunker is there."""
    Chunker(bytes(32))
    yield ok("the native chunker is there")


def shadow_copies(subject: Any) -> Iterator[Verdict]:
    """A shadow copy of the volume with the agent's folder: made, read, deleted."""
    with _scratch(subject) as folder:
        _make(folder, b"file", b"before")
        place = os.path.realpath(os.fsencode(str(subject.folder)))
        mounts = read_mounts()
        mount = mounts.holding(place)
        provider = provider_for(mount) if mount is not None else None
        if mount is None or provider is None:
            kind = mount.fs_type if mount is not None else "unknown"
            yield warning(f"the volume of {subject.folder} ({kind}) has no shadow copies", "use NTFS or ReFS")
            return
        workspace = workspace_named("doctor")
        point: RecoveryPoint | None = None
        try:
            volume = provider.volumes(mount, place, mounts, nested=False)[0]
            point = provider.plan(volume, f"backstay-doctor-{os.getpid()}", workspace)
            provider.take(point, volume, workspace)
            provider.validate(point, volume)
            for remark in provider.remarks(point):
                yield warning(remark, "see `vssadmin list writers` and the Application event log")
            yield ok(f"a shadow copy of {point.volume} was made and can be read")
        except BackstayError as error:
            yield failed(error.what, error.hint or _REPORT)
        finally:
            if point is not None:
                provider.release(point, workspace)
            workspace.close()


def fidelity(subject: Any) -> Iterator[Verdict]:
    """Everything that belongs to a file can be set and read here, as a backup and a restore do it."""
    for name, trial in _TRIALS.items():
        with _scratch(subject) as folder:
            try:
                wrong = trial(folder)
            except OSError as error:
                wrong = f"{error.strerror or error}"
        if wrong:
            yield failed(f"{name}: {wrong}", _REPORT)
        else:
            yield ok(name)


def sealing(subject: Any) -> Iterator[Verdict]:
    """DPAPI seals and opens."""
    from backstay.agent.protection import hide, reveal

    try:
        same = reveal(hide("trial")) == "trial"
    except OSError as error:
        yield failed(f"DPAPI does not seal secrets: {error}", _REPORT)
        return
    yield ok("DPAPI seals secrets") if same else failed("DPAPI gives back something else", _REPORT)


def service(subject: Any) -> Iterator[Verdict]:
    """The service is there, and runs."""
    import pywintypes

    from backstay.agent.service_windows import NAME, status

    try:
        state = status()
    except pywintypes.error:
        yield failed(f"there is no service {NAME}", "run `backstay agent install` as an administrator")
        return
    if state == 4:
        yield ok(f"the service {NAME} runs")
    else:
        yield failed(
            f"the service {NAME} does not run (state {state})",
            f"sc start {NAME}; the Application event log, source {NAME}, says why it ended",
        )


def _security(folder: int) -> str:
    for name in (b"one", b"two"):
        _make(folder, name)
    with _opened(folder, b"one") as one, _opened(folder, b"two") as two:
        descriptor = one.security()
        two.set_security(descriptor)
        return "" if two.security() == descriptor else "it is another one after it was set"


def _streams(folder: int) -> str:
    _make(folder, b"file", b"main")
    with _opened(folder, b"file") as file:
        file.write_stream("note ☂", b"x" * 5000)
        if file.streams() != [("note ☂", 5000)]:
            return f"they are listed as {file.streams()}"
        if file.read_stream("note ☂", 5000) != b"x" * 5000:
            return "their content is another"
        file.remove_stream("note ☂")
        return "" if not file.streams() else "one cannot be deleted"


def _times(folder: int) -> str:
    _make(folder, b"file")
    with _opened(folder, b"file") as file:
        file.set_basic(0x22, _BORN, _WRITTEN)
        attributes, created = file.basic()
    if created != _BORN:
        return "the time of creation is another"
    return "" if attributes & 0x22 == 0x22 else f"the attributes are 0x{attributes:X}"


def _holes(folder: int) -> str:
    fd = os.open(b"file", _NEW, dir_fd=folder)
    try:
        os.ftruncate(fd, 8 << 20)
        os.pwrite(fd, b"x", 4 << 20)
        if not os.fstat(fd).st_file_attributes & SPARSE:
            return "the file is not sparse"
        data = os.lseek(fd, 0, os.SEEK_DATA)
        return "" if 0 < data <= 4 << 20 else f"its data begins at {data}"
    finally:
        os.close(fd)


def _compression(folder: int) -> str:
    _make(folder, b"file")
    with _opened(folder, b"file") as file:
        file.set_compressed()
        return "" if file.basic()[0] & COMPRESSED else "the file is not compressed"


def _hard_links(folder: int) -> str:
    _make(folder, b"one")
    os.link(b"one", b"two", src_dir_fd=folder, dst_dir_fd=folder)
    links = os.stat(b"two", dir_fd=folder, follow_symlinks=False).st_nlink
    return "" if links == 2 else f"a file with two names has {links}"


def _links(folder: int) -> str:
    os.mkdir(b"folder", dir_fd=folder)
    data = symlink_data(b"folder")
    root, name = place_in(b"link", folder)
    os.make_reparse(root, name, data, folder=True)
    with _opened_link(folder, b"link") as link:
        return "" if target_of(link.reparse()) == b"folder" else "it leads elsewhere"


def _junctions(folder: int) -> str:
    os.mkdir(b"folder", dir_fd=folder)
    target = "\\??\\C:\\Windows".encode("utf-16-le")
    names = len(target).to_bytes(2, "little")
    body = b"\0\0" + names + (len(target) + 2).to_bytes(2, "little") + b"\0\0" + target + b"\0\0\0\0"
    data = MOUNT_POINT.to_bytes(4, "little") + len(body).to_bytes(2, "little") + b"\0\0" + body
    root, name = place_in(b"junction", folder)
    os.make_reparse(root, name, data, folder=True)
    with _opened_link(folder, b"junction") as link:
        return "" if target_of(link.reparse()) == b"/C:/Windows" else "it leads elsewhere"


@contextmanager
def _opened_link(folder: int, name: bytes) -> Iterator[WindowsFile]:
    yield WindowsFile(*place_in(name, folder))


def _names(folder: int) -> str:
    wanted = {"half \ud800", "con", "dot.", "x" * 255, "Größe ☂ 𝄞"}
    for name in wanted:
        _make(folder, name.encode("utf-8", "surrogatepass"))
    found = set(os.listdir(folder))
    for name in wanted:
        os.unlink(name.encode("utf-8", "surrogatepass"), dir_fd=folder)
    return "" if found == wanted else f"they are listed as {sorted(found)!r}"


def _depth(folder: int) -> str:
    fds = [folder]
    try:
        for _ in range(20):
            os.mkdir(b"deeper" * 20, dir_fd=fds[-1])
            fds.append(os.open(b"deeper" * 20, os.O_RDONLY | os.O_DIRECTORY, dir_fd=fds[-1]))
        _make(fds[-1], b"bottom")
        os.unlink(b"bottom", dir_fd=fds[-1])
    finally:
        for fd in fds[1:]:
            os.close(fd)
    return ""


def _replacing(folder: int) -> str:
    _make(folder, b"old", b"old")
    _make(folder, b"new", b"new")
    with _opened(folder, b"old") as file:
        file.set_basic(0x1, 0, 0)
    reader = os.open(b"old", os.O_RDONLY, dir_fd=folder)
    try:
        os.rename(b"new", b"old", src_dir_fd=folder, dst_dir_fd=folder)
    finally:
        os.close(reader)
    return "" if os.listdir(folder) == ["old"] else f"there is {os.listdir(folder)!r} afterwards"


def _looks(folder: int) -> str:
    _make(folder, b"file", b"12345")
    with os.scandir(folder) as entries:
        seen = [entry.stat(follow_symlinks=False) for entry in entries]
    fd = os.open(b"file", os.O_RDONLY, dir_fd=folder)
    try:
        found = os.fstat(fd)
    finally:
        os.close(fd)
    same = [one._replace(st_atime_ns=0) for one in seen] == [found._replace(st_atime_ns=0)]
    return "" if same else f"by name it is {seen}, open {found}"


_TRIALS: Final[dict[str, Callable[[int], str]]] = {
    "security descriptors": _security,
    "alternate data streams": _streams,
    "attributes and time of creation": _times,
    "sparse files": _holes,
    "compressed files": _compression,
    "hard links": _hard_links,
    "symbolic links": _links,
    "junctions": _junctions,
    "names that few programs can open": _names,
    "paths beyond 260 characters": _depth,
    "replacing what is open and read-only": _replacing,
    "what a file is, by name and open": _looks,
}

CHECKS: Final[list[Check[Any]]] = [
    Check("rights", rights),
    Check("chunker", chunker),
    Check("shadow copies", shadow_copies),
    Check("fidelity", fidelity),
    Check("secret", sealing),
    Check("service", service),
]
"""In this order; each is given something with the agent's `folder`."""


def is_wine() -> bool:
    """Whether this Windows is wine, which has neither shadow copies nor much of NTFS."""
    return hasattr(ctypes.WinDLL("ntdll"), "wine_get_version")
