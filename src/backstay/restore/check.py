"""Verification after a restore: every file is read again and compared with the ids of its blobs."""

import stat
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

from backstay.domain.entry import Entry
from backstay.domain.errors import DamagedObject, StorageError
from backstay.filesystem.metadata import CARRIES_MODES, TIME_GRAIN_NS
from backstay.filesystem.opening import DirectoryChain
from backstay.filesystem.past_cache import LARGE_FILE, FileDoor
from backstay.filesystem.reasons import reason_of
from backstay.repository.tree import iterate_chunks
from backstay.restore.folders import Places
from backstay.restore.outcome import RestoreOutcome
from backstay.restore.plan import RestorePlan
from backstay.restore.progress import Progress
from backstay.restore.spool import FileRecord, Spool
from backstay.system.calls import os

_READERS = 2
_AHEAD = 4
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_ZEROS: Final = bytes(1 << 20)

Checked = tuple[int, int, bytes, list[tuple[bytes, str]]]
"""What a run has checked: files, bytes, a path in it, and what is wrong: path and reason."""


def verify(plan: RestorePlan, top: int, outcome: RestoreOutcome, progress: Progress) -> None:
    """Compare everything that was restored with the restore point; differences become problems.

    Raises:
        Cancelled.
    """
    outcome.verified = 0
    size = 0
    pool = ThreadPoolExecutor(_READERS, "backstay-verify")
    waiting: deque[Future[Checked]] = deque()
    known = {problem.path for problem in outcome.problems}

    def take() -> None:
        nonlocal size
        files, read, path, wrong = waiting.popleft().result()
        outcome.verified = (outcome.verified or 0) + files
        size += read
        for where, reason in wrong:
            if os.path.join(outcome.target, where) not in known:
                outcome.failed(where, reason)
        progress.advanced(outcome.verified, size, os.path.join(outcome.target, path))

    try:
        for spool, start, stop in _runs(plan):
            waiting.append(pool.submit(_check_run, plan, top, outcome, spool, start, stop))
            if len(waiting) > _AHEAD:
                take()
        while waiting:
            take()
        for where, reason in _wrong_links(plan, top, outcome):
            if os.path.join(outcome.target, where) not in known:
                outcome.failed(where, reason)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _runs(plan: RestorePlan) -> Iterator[tuple[Spool[FileRecord], int, int]]:
    for spool in (plan.prepared, plan.files):
        for start, stop in spool.runs():
            yield spool, start, stop


def _check_run(
    plan: RestorePlan, top: int, outcome: RestoreOutcome, spool: Spool[FileRecord], start: int, stop: int
) -> Checked:
    files = size = 0
    path = b""
    wrong: list[tuple[bytes, str]] = []
    places = Places(plan.folders)
    folder, dir_fd = -1, -1
    place: tuple[bytes, ...] = ()
    with DirectoryChain(top) as chain:
        for _, record in spool.between(start, stop):
            if outcome.is_lost(record.folder, record.name) or not plan.folders.is_usable(record.folder):
                continue
            try:
                if record.folder != folder:
                    place = places.components(record.folder)
                    dir_fd, folder = chain.open(place), record.folder
                reason = _check(plan, dir_fd, record)
            except OSError as error:
                reason = f"it cannot be read again: {reason_of(error)}"
            except (DamagedObject, StorageError) as error:
                reason = f"it cannot be verified: {error.what}"
            if reason:
                wrong.append((b"/".join((*place, record.name)), reason))
            else:
                files += record.entry.is_regular
                size += record.entry.size
    if folder >= 0:
        path = b"/".join(place)
    return files, size, path, wrong


def _check(plan: RestorePlan, dir_fd: int, record: FileRecord) -> str:
    """What is wrong with a restored file, or nothing. Raises OSError, DamagedObject, StorageError."""
    entry = record.entry
    if not entry.is_regular:
        st = os.stat(record.name, dir_fd=dir_fd, follow_symlinks=False)
        if entry.is_symlink and os.readlink(record.name, dir_fd=dir_fd) != entry.inline:
            return "the link leads elsewhere than it did"
        return _difference(plan, entry, st)
    fd = os.open(record.name, _READ, dir_fd=dir_fd)
    try:
        st = os.fstat(fd)
        if not stat.S_ISREG(st.st_mode) or st.st_size != entry.size:
            return f"it has {st.st_size} bytes on the disk instead of {entry.size}"
        if not _same_content(plan, fd, entry):
            return "its content on the disk is not what was backed up"
    finally:
        os.close(fd)
    return _difference(plan, entry, st)


def _difference(plan: RestorePlan, entry: Entry, st: os.stat_result) -> str:
    if stat.S_IFMT(st.st_mode) != stat.S_IFMT(entry.mode):
        return "it is another kind of file than it was"
    if st.st_mtime_ns // TIME_GRAIN_NS != entry.mtime_ns // TIME_GRAIN_NS:
        return "its modification time on the disk is not what it was"
    if (
        CARRIES_MODES
        and plan.with_permissions
        and not entry.is_symlink
        and stat.S_IMODE(st.st_mode) != stat.S_IMODE(entry.mode)
    ):
        return "its permissions on the disk are not what they were"
    return ""


def _same_content(plan: RestorePlan, fd: int, entry: Entry) -> bool:
    blob_id = plan.blobs.repository.blob_id
    if entry.inline is not None:
        return os.pread(fd, entry.size + 1, 0) == entry.inline
    at = 0
    door = FileDoor(fd, writing=False) if entry.size >= LARGE_FILE else None
    try:
        for chunk in iterate_chunks(entry.chunks or (), plan.blobs.read):
            if chunk.blob is None:
                if not _is_hole(fd, at, chunk.length):
                    return False
            else:
                read = door.read(at, chunk.length) if door is not None else _read(fd, at, chunk.length)
                if blob_id(read) != chunk.blob:
                    return False
            at += chunk.length
    finally:
        if door is not None:
            door.close()
    return True


def _read(fd: int, at: int, length: int) -> bytes:
    data = os.pread(fd, length, at)
    while len(data) < length:
        more = os.pread(fd, length - len(data), at + len(data))
        if not more:
            break
        data += more
    return data


def _is_hole(fd: int, at: int, length: int) -> bool:
    """Whether this part of the file reads as zeros; what the file system knows to be a hole is not read."""
    end = at + length
    while at < end:
        try:
            at = min(os.lseek(fd, at, os.SEEK_DATA), end)
        except OSError:
            return True
        data = _read(fd, at, min(len(_ZEROS), end - at))
        if data != _ZEROS[: len(data)]:
            return False
        at += len(data)
        if not data:
            break
    return True


def _wrong_links(plan: RestorePlan, top: int, outcome: RestoreOutcome) -> Iterator[tuple[bytes, str]]:
    places = Places(plan.folders)
    with DirectoryChain(top) as here, DirectoryChain(top) as there:
        for link in plan.links:
            if not (plan.folders.is_usable(link.folder) and plan.folders.is_usable(link.to_folder)):
                continue
            if outcome.is_lost(link.to_folder, link.to_name):
                continue
            place = places.components(link.folder)
            path = b"/".join((*place, link.name))
            try:
                one = os.stat(link.name, dir_fd=here.open(place), follow_symlinks=False)
                other = os.stat(
                    link.to_name, dir_fd=there.open(places.components(link.to_folder)), follow_symlinks=False
                )
            except OSError as error:
                yield path, f"it cannot be examined: {reason_of(error)}"
                continue
            if not os.path.samestat(one, other):
                yield path, "it is another file than the one that it should be a name of"
