"""Files that are put together from pieces, which come in any order and from several threads.

A file is written aside and gets its name when it is whole. Where pieces are lost for good, what was
recovered is kept as NAME.damaged-partial, with holes for the lost pieces, so that nothing damaged ever
stands under the name of a good file; the file that had that name before stays.
"""

from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass
from threading import Lock

from backstay.filesystem.past_cache import LARGE_FILE, FileDoor
from backstay.filesystem.reasons import reason_of
from backstay.filesystem.writer import TreeWriter, discard, reopen, write_at
from backstay.restore.existing import Action
from backstay.restore.file_maker import FileMaker
from backstay.restore.spool import FileRecord
from backstay.storage.interface import Buffer
from backstay.system.calls import os

DAMAGED_SUFFIX = b".damaged-partial"

_MOST_OPEN = 64


@dataclass
class _Partial:
    record: FileRecord
    aside: bytes
    fd: int
    left: int
    door: FileDoor | None = None
    users: int = 0
    lost: int = 0
    reason: str = ""

    def open(self, fd: int) -> None:
        self.fd = fd
        self.door = FileDoor(fd, writing=True) if self.record.entry.size >= LARGE_FILE else None

    def write(self, at: int, data: Buffer) -> None:
        if self.door is not None:
            self.door.write(at, data)
        else:
            write_at(self.fd, at, data)

    def close(self) -> None:
        if self.door is not None:
            self.door.close()
        if self.fd >= 0:
            os.close(self.fd)
        self.fd = -1


@dataclass(frozen=True)
class Finished:
    """A file of which all pieces have come.

    Attributes:
        record: its record.
        problems: what could not be restored, as clauses without the path.
        whole: whether all of its content is there.
    """

    record: FileRecord
    problems: list[str]
    whole: bool


class PartialFiles:
    """All unfinished files. Safe to use from several threads, each with its own FileMaker."""

    def __init__(self, tree: TreeWriter) -> None:
        self._tree = tree
        self._lock = Lock()
        self._files: dict[int, _Partial] = {}
        self._open: OrderedDict[int, _Partial] = OrderedDict()
        self._given_up: set[int] = set()

    def write(
        self, maker: FileMaker, key: int, record: FileRecord, at: int, data: Buffer | None, reason: str = ""
    ) -> Finished | None:
        """Write one piece, and finish the file where it was the last.

        Args:
            maker: the calling thread's.
            key: identifies the file.
            at: where the piece belongs.
            data: its content, or None where it is lost.
            reason: why it is lost.

        Raises:
            FolderUnusable, OSError, TargetError: once a file, which is given up then.
        """
        if key in self._given_up:
            return None
        try:
            partial = self._begin(maker, key, record)
        except BaseException:
            self._given_up.add(key)
            raise
        try:
            if data is not None:
                partial.write(at, data)
        except OSError as error:
            data, reason = None, reason_of(error)
        finally:
            with self._lock:
                partial.users -= 1
        with self._lock:
            partial.left -= 1
            if data is None:
                partial.lost += 1
                partial.reason = partial.reason or reason
            if partial.left:
                return None
            del self._files[key]
            self._open.pop(key, None)
        return self._finish(maker, partial)

    def _begin(self, maker: FileMaker, key: int, record: FileRecord) -> _Partial:
        """The file, open and claimed."""
        with self._lock:
            partial = self._files.get(key)
            if partial is None:
                fd, aside = self._tree.create_aside(maker.enter(record.folder), record.entry)
                partial = self._files[key] = _Partial(record, aside, fd, record.pieces)
                partial.open(fd)
            elif partial.fd < 0:
                partial.open(reopen(maker.enter(record.folder), partial.aside))
            partial.users += 1
            self._open[key] = partial
            self._open.move_to_end(key)
            self._close_some()
            return partial

    def _close_some(self) -> None:
        if len(self._open) <= _MOST_OPEN:
            return
        for key, partial in list(self._open.items()):
            if not partial.users:
                partial.close()
                del self._open[key]
                return

    def _finish(self, maker: FileMaker, partial: _Partial) -> Finished:
        record, fd = partial.record, partial.fd
        try:
            dir_fd = maker.enter(record.folder)
            if partial.lost:
                return self._keep_damaged(dir_fd, partial)
            try:
                problems = self._tree.finish_file(fd, record.entry)
                if record.action == Action.REPLACE_FOLDER:
                    os.rmdir(record.name, dir_fd=dir_fd)
                elif record.action != Action.REPLACE and _is_taken(dir_fd, record.name):
                    raise FileExistsError("something of that name has appeared meanwhile")
                self._tree.publish(dir_fd, partial.aside, record.name)
            except BaseException:
                discard(dir_fd, partial.aside)
                raise
            problems += self._tree.seal(fd, record.entry)
            return Finished(record, problems, True)
        finally:
            partial.close()

    def _keep_damaged(self, dir_fd: int, partial: _Partial) -> Finished:
        record = partial.record
        lost = f"{partial.lost} of {record.pieces} pieces of it are lost: {partial.reason}"
        if partial.lost == record.pieces:
            discard(dir_fd, partial.aside)
            return Finished(record, [f"it is not restored: {lost}"], False)
        name = record.name[: 255 - len(DAMAGED_SUFFIX)] + DAMAGED_SUFFIX
        self._tree.finish_file(partial.fd, record.entry)
        if _is_taken(dir_fd, name):
            discard(dir_fd, partial.aside)
            return Finished(record, [f"it is not restored: {lost}"], False)
        self._tree.publish(dir_fd, partial.aside, name)
        return Finished(record, [f"what is left of it is kept as {os.fsdecode(name)!r}: {lost}"], False)

    def abandon(self, maker: FileMaker) -> None:
        """Remove everything unfinished."""
        for partial in self._files.values():
            partial.close()
            with suppress(OSError):
                discard(maker.enter(partial.record.folder), partial.aside)
        self._files.clear()
        self._open.clear()


def _is_taken(dir_fd: int, name: bytes) -> bool:
    try:
        os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True
