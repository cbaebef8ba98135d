"""What the kernel asks of a mount, and the answers: fuse(4), with libfuse between."""

import errno
import os
from collections.abc import Callable, Iterator
from functools import wraps
from itertools import count, islice
from threading import Lock
from typing import Final, ParamSpec, TypeVar

import mfusepy

from backstay.domain.entry import Entry
from backstay.domain.errors import BackstayError
from backstay.mount.view import View, inode_of
from backstay.repository.content import FileContent

_BLOCK: Final = 512
"""st_blocks counts these; stat(2)."""

_PREFERRED_BLOCK: Final = 1 << 17
_LONGEST_NAME: Final = 255
_ENCODING: Final = ("utf-8", "surrogateescape")

_Row = tuple[str, dict[str, int]]
"""A name in a folder, with what readdir(3) tells of it."""

_NumberedRow = tuple[str, dict[str, int], int]
"""The same, and the offset of the next one."""

_P = ParamSpec("_P")
_R = TypeVar("_R")


def _answer(method: Callable[_P, _R]) -> Callable[_P, _R]:
    """What cannot be read is told to the user once, and to the program that asked as EIO."""

    @wraps(method)
    def answer(*arguments: _P.args, **options: _P.kwargs) -> _R:
        try:
            return method(*arguments, **options)
        except BackstayError as error:
            operations = arguments[0]
            assert isinstance(operations, Operations)
            operations.tell_once(error)
            raise OSError(errno.EIO, error.what) from error

    return answer


class Operations(mfusepy.Operations):  # type: ignore[misc]
    """A view as libfuse wants it. Called from several threads.

    Args:
        view: what is shown.
        ready: called when the kernel has accepted the mount.
        tell: called once for each damage that a reader meets.
    """

    use_ns = True

    def __init__(
        self, view: View, *, ready: Callable[[], None], tell: Callable[[BackstayError], None]
    ) -> None:
        self._view = view
        self._ready = ready
        self._tell = tell
        self._told: set[str] = set()
        self._numbers = count(1)
        self._files: dict[int, FileContent] = {}
        self._folders: dict[int, _Listing] = {}
        self._lock = Lock()

    def tell_once(self, error: BackstayError) -> None:
        """Tell of an error, unless it was told before."""
        with self._lock:
            new = error.what not in self._told
            self._told.add(error.what)
        if new:
            self._tell(error)

    def init(self, path: str) -> None:
        """The mount is there."""
        self._ready()

    @_answer
    def getattr(self, path: str, fh: int | None = None) -> dict[str, int]:
        """As lstat(2)."""
        name = _bytes(path)
        return _attributes(name, self._entry(name))

    @_answer
    def readlink(self, path: str) -> str:
        """The target of a symbolic link."""
        entry = self._entry(_bytes(path))
        if not entry.is_symlink:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return (entry.inline or b"").decode(*_ENCODING)

    @_answer
    def opendir(self, path: str) -> int:
        """Begin to list a folder."""
        name = _bytes(path)
        if not self._entry(name).is_directory:
            raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        handle = next(self._numbers)
        self._folders[handle] = _Listing(lambda: self._rows(name))
        return handle

    def _rows(self, folder: bytes) -> Iterator[_Row]:
        yield ".", {"st_mode": 0o040000, "st_ino": inode_of(folder, _AS_FOLDER)}
        yield "..", {"st_mode": 0o040000}
        place = folder.rstrip(b"/") + b"/"
        for entry in self._view.list_folder(folder):
            inode = inode_of(place + entry.name, entry)
            yield entry.name.decode(*_ENCODING), {"st_mode": entry.mode, "st_ino": inode}

    @_answer
    def readdir_with_offset(self, path: str, offset: int, fh: int) -> Iterator[_NumberedRow]:
        """The names of a folder from the `offset`th on; the caller stops when its buffer is full."""
        # What a generator raises is raised in the caller's loop, outside of `_answer`.
        return self._guarded(self._folders[fh].since(offset))

    def _guarded(self, rows: Iterator[_NumberedRow]) -> Iterator[_NumberedRow]:
        try:
            yield from rows
        except BackstayError as error:
            self.tell_once(error)
            raise OSError(errno.EIO, error.what) from error

    def releasedir(self, path: str, fh: int) -> int:
        """No more to be listed."""
        self._folders.pop(fh, None)
        return 0

    @_answer
    def open(self, path: str, flags: int) -> int:
        """Begin to read a file."""
        content = self._view.content(self._entry(_bytes(path)))
        handle = next(self._numbers)
        self._files[handle] = content
        return handle

    @_answer
    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        """A part of a file."""
        return self._files[fh].read(offset, size)

    def release(self, path: str, fh: int) -> int:
        """No more to be read."""
        self._files.pop(fh, None)
        return 0

    @_answer
    def listxattr(self, path: str) -> list[str]:
        """The names of the extended attributes, ACLs and capabilities among them."""
        return [name.decode(*_ENCODING) for name, _ in self._entry(_bytes(path)).xattrs]

    @_answer
    def getxattr(self, path: str, name: str, position: int = 0) -> bytes:
        """An extended attribute."""
        wanted = _bytes(name)
        for known, value in self._entry(_bytes(path)).xattrs:
            if known == wanted:
                return value
        raise OSError(errno.ENODATA, os.strerror(errno.ENODATA))

    def statfs(self, path: str) -> dict[str, int]:
        """There is no room to write."""
        return {"f_bsize": _PREFERRED_BLOCK, "f_frsize": _BLOCK, "f_namemax": _LONGEST_NAME}

    def _entry(self, path: bytes) -> Entry:
        entry = self._view.find(path)
        if entry is None:
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))
        return entry


_AS_FOLDER: Final = Entry(b"", 0o040000, 0, 0, 0, 0, 0, 0, 1)


class _Listing:
    """A folder that is being listed, buffer by buffer, without holding all of it."""

    def __init__(self, rows: Callable[[], Iterator[_Row]]) -> None:
        self._make = rows
        self._rows = rows()
        self._at = 0
        self._refused: _Row | None = None

    def since(self, offset: int) -> Iterator[_NumberedRow]:
        """The rows from the `offset`th on, each with the offset of the next."""
        if offset != self._at:
            self._rows = islice(self._make(), offset, None)
            self._at, self._refused = offset, None
        while True:
            row = self._refused or next(self._rows, None)
            if row is None:
                return
            # Only when the next one is asked for was this one taken.
            self._refused = row
            yield *row, self._at + 1
            self._refused = None
            self._at += 1


def _bytes(text: str) -> bytes:
    return text.encode(*_ENCODING)


def _attributes(path: bytes, entry: Entry) -> dict[str, int]:
    return {
        "st_ino": inode_of(path, entry),
        "st_mode": entry.mode,
        "st_nlink": entry.nlink,
        "st_uid": entry.uid,
        "st_gid": entry.gid,
        "st_rdev": entry.rdev,
        "st_size": entry.size,
        "st_blocks": _blocks(entry),
        "st_blksize": _PREFERRED_BLOCK,
        "st_atime": entry.mtime_ns,
        "st_mtime": entry.mtime_ns,
        "st_ctime": entry.ctime_ns,
    }


def _blocks(entry: Entry) -> int:
    """Blocks that are no holes; in a long chunk list, whose pages are not opened for this, all count."""
    if entry.chunks is None:
        return -(-entry.size // _BLOCK)
    return -(-sum(chunk.length for chunk in entry.chunks if chunk.blob is not None) // _BLOCK)
