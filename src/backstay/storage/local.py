"""A storage in a folder of a mounted filesystem."""

import contextlib
import errno
import os
import shutil
import stat
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from backstay.domain.errors import ObjectExists, ObjectNotFound, StorageError, StorageUnavailable
from backstay.storage.asides import Asides
from backstay.storage.file_bytes import holds_exactly, views_of
from backstay.storage.interface import Buffer, ObjectInfo, Storage
from backstay.storage.names import check_name, check_prefix, is_part
from backstay.storage.os_errors import explaining
from backstay.storage.publish import publish

_ASIDE = ".aside"
_FOLDER_MODE = 0o700
_ABSENT = (FileNotFoundError, NotADirectoryError, IsADirectoryError)
_NO_FOLDER_SYNC = frozenset((errno.EINVAL, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS))


class LocalStorage(Storage):
    """Objects are the files below one folder, named as they are.

    An object is written aside (in `.aside`, which no listing shows), synced, and
    only then given its name, so no crash leaves part of an object under a name.
    Its name is durable once `sync` has synced the folder. The storage folder
    itself is made only when asked, and one that vanishes (a disk unmounted) is an
    error, not an empty storage.

    Args:
        path: the folder.
        create: make the folder, and those above it, where missing.

    Raises:
        StorageError: there is no such folder, or it cannot be made or read.
    """

    def __init__(self, path: Path | str, *, create: bool = False) -> None:
        self._root = Path(path).absolute()
        with explaining(f"open the storage folder {self._root}"):
            if create:
                _make_durably(self._root)
            if not self._root.is_dir():
                raise StorageError(
                    f"there is no storage folder {self._root}",
                    hint="check the path, and that its disk or share is mounted",
                )
            self._aside_seen = (self._root / _ASIDE).is_dir()
        self._asides = Asides(self._root / _ASIDE)
        self._ready_to_write = False
        self._touched: set[Path] = set()
        self._state = threading.Lock()
        self._syncing = threading.Lock()

    @property
    def location(self) -> str:
        """The folder's absolute path."""
        return str(self._root)

    def path_of(self, name: str) -> Path:
        """The file that holds, or would hold, the object: to be mapped into memory, never to be written."""
        return self._root / check_name(name)

    def put(self, name: str, data: Sequence[Buffer]) -> None:
        """As Storage.put. The bytes are on the disk when it returns; `sync` does the same for the name."""
        final = self.path_of(name)
        views = views_of(data)
        with explaining(f"store {name} in {self.location}"), self._touching(final.parent):
            self._prepare_to_write()
            for _ in range(3):
                if self._publish_new(final, views):
                    return
                with contextlib.suppress(FileNotFoundError):
                    if not holds_exactly(final, views):
                        raise ObjectExists(name)
                    return
        raise StorageUnavailable(
            f"cannot store {name} in {self.location}: its name is taken, yet there is nothing to read",
            hint="look for a broken symbolic link of that name, or another process that keeps deleting it",
        )

    @contextlib.contextmanager
    def _touching(self, folder: Path) -> Iterator[None]:
        """Leave `folder` to the next sync: at the end, since a sync that ran meanwhile came too early.

        It counts as touched also where nothing was changed: whoever put the object
        that was found present may not have synced its name yet.
        """
        try:
            yield
        finally:
            with self._state:
                self._touched.add(folder)

    def _publish_new(self, final: Path, views: Sequence[memoryview]) -> bool:
        """False where something of that name is there already."""
        if final.exists():
            return False
        lock = self._asides.folder / "lock"
        try:
            with self._asides.written(views) as aside:
                try:
                    publish(aside, final, lock)
                except FileNotFoundError:
                    self._make_folders(final.parent)
                    publish(aside, final, lock)
        except FileExistsError:
            return False
        except FileNotFoundError as error:
            self._check_present()
            raise StorageUnavailable(
                f"cannot store {final}: its unfinished file was removed meanwhile"
            ) from error
        return True

    def _prepare_to_write(self) -> None:
        if self._ready_to_write:
            return
        with self._state:
            if not self._ready_to_write:
                self._check_present()
                with contextlib.suppress(FileExistsError):
                    os.mkdir(self._asides.folder, _FOLDER_MODE)
                self._aside_seen = True
                self._asides.sweep()
                self._ready_to_write = True

    def _make_folders(self, folder: Path) -> None:
        """Make the folders from the root down to `folder`, but never the root."""
        self._check_present()
        path = self._root
        for part in folder.relative_to(self._root).parts:
            path /= part
            with contextlib.suppress(FileExistsError):
                os.mkdir(path, _FOLDER_MODE)

    def _check_present(self) -> None:
        """Raises StorageError where the folder is no longer the one that was opened.

        `.aside` tells: the empty folder that an unmounted disk leaves has none.
        """
        if not self._root.is_dir() or (self._aside_seen and not self._asides.folder.is_dir()):
            raise StorageError(
                f"the storage folder {self._root} has vanished",
                hint="check that its disk or share is still mounted",
            )

    def sync(self) -> None:
        """As Storage.sync: syncs every folder in which a name appeared or went, and those above it."""
        with self._syncing:  # whoever finds nothing left to sync must not return before the one who is at it
            with self._state:
                touched, self._touched = self._touched, set()
            folders = {above for folder in touched for above in (folder, *folder.parents)}
            try:
                with explaining(f"make the names in {self.location} durable"):
                    if touched:
                        self._check_present()
                    for folder in sorted(folders):
                        if folder.is_relative_to(self._root):
                            self._sync_touched(folder)
            except BaseException:
                with self._state:
                    self._touched |= touched
                raise

    def secure(self, name: str) -> None:
        """As Storage.secure. Its bytes were synced before it got its name; the next sync adds the name."""
        with self._touching(self.path_of(name).parent):
            pass

    def _sync_touched(self, folder: Path) -> None:
        try:
            sync_folder(folder)
        except _ABSENT:
            # A put that failed before it made the folder, or a delete of nothing.
            self._check_present()

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        """As Storage.get."""
        if offset < 0 or (length is not None and length < 0):
            raise ValueError("offset and length cannot be negative")
        with self._object(name), self.path_of(name).open("rb", buffering=0) as file:
            rest = max(0, os.fstat(file.fileno()).st_size - offset)
            wanted = rest if length is None else min(length, rest)
            file.seek(offset)
            data = file.read(wanted)
            while len(data) < wanted and (more := file.read(wanted - len(data))):
                data += more
            return data

    def size(self, name: str) -> int:
        """As Storage.size."""
        with self._object(name):
            status = self.path_of(name).stat()
            if not stat.S_ISREG(status.st_mode):
                raise FileNotFoundError
            return status.st_size

    def exists(self, name: str) -> bool:
        """As Storage.exists."""
        try:
            self.size(name)
        except ObjectNotFound:
            return False
        return True

    @contextlib.contextmanager
    def _object(self, name: str) -> Iterator[None]:
        with explaining(f"read {name} in {self.location}"):
            try:
                yield
            except _ABSENT:
                self._check_present()
                raise ObjectNotFound(name) from None

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """As Storage.list: lazily; raises at its end if the storage folder vanished meanwhile."""
        folder = self._root / check_prefix(prefix)
        with explaining(f"list {prefix or 'all objects'} in {self.location}"):
            self._check_present()
            yield from _walk(str(folder), prefix)
            self._check_present()  # the walk takes folders that vanish meanwhile for deleted ones

    def delete(self, name: str) -> None:
        """As Storage.delete. Folders stay, also empty ones."""
        path = self.path_of(name)
        with explaining(f"delete {name} in {self.location}"), self._touching(path.parent):
            try:
                os.unlink(path)
            except _ABSENT:
                self._check_present()

    def free_bytes(self) -> int | None:
        """Room that this user may still fill, in bytes."""
        with explaining(f"ask for the free space of {self.location}"):
            self._check_present()
            return shutil.disk_usage(self._root).free


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable by fsync(2), where the filesystem can. Raises OSError."""
    if os.name != "posix":
        return
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC:
            raise
    finally:
        os.close(fd)


def _make_durably(folder: Path) -> None:
    missing = [path for path in (folder, *folder.parents) if not path.is_dir()]
    for path in reversed(missing):
        with contextlib.suppress(FileExistsError):
            os.mkdir(path, _FOLDER_MODE if path == folder else 0o777)
        sync_folder(path.parent)


def _walk(folder: str, prefix: str) -> Iterator[ObjectInfo]:
    """Every object below; a folder or file that goes meanwhile is passed over."""
    deeper = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if not is_part(entry.name):
                    continue
                if entry.is_dir():
                    deeper.append(entry)
                    continue
                try:
                    status = entry.stat()
                except FileNotFoundError:
                    continue
                if stat.S_ISREG(status.st_mode):
                    yield ObjectInfo(prefix + entry.name, status.st_size, status.st_mtime)
    except (FileNotFoundError, NotADirectoryError):
        return
    for entry in deeper:
        yield from _walk(entry.path, f"{prefix}{entry.name}/")
