"""A storage in memory: quick, and as strict as any other."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence

from backstay.domain.errors import ObjectExists, ObjectNotFound
from backstay.storage.interface import Buffer, ObjectInfo, Storage
from backstay.storage.names import check_name, check_prefix


class MemoryStorage(Storage):
    """Keeps every promise of Storage for as long as the process lives.

    Args:
        clock: the time that a listing shows as modified, in seconds since the epoch.
    """

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._objects: dict[str, tuple[bytes, float]] = {}

    @property
    def location(self) -> str:
        """Always `memory`."""
        return "memory"

    def put(self, name: str, data: Sequence[Buffer]) -> None:
        """As Storage.put."""
        check_name(name)
        whole = b"".join(data)
        with self._lock:
            stored, _ = self._objects.setdefault(name, (whole, self._clock()))
        if stored != whole:
            raise ObjectExists(name)

    def sync(self) -> None:
        """As Storage.sync."""

    def secure(self, name: str) -> None:
        """As Storage.secure."""
        check_name(name)

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        """As Storage.get."""
        if offset < 0 or (length is not None and length < 0):
            raise ValueError("offset and length cannot be negative")
        whole = self._stored(name)
        return whole[offset:] if length is None else whole[offset : offset + length]

    def size(self, name: str) -> int:
        """As Storage.size."""
        return len(self._stored(name))

    def _stored(self, name: str) -> bytes:
        with self._lock:
            if name not in self._objects:
                raise ObjectNotFound(check_name(name))
            return self._objects[name][0]

    def exists(self, name: str) -> bool:
        """As Storage.exists."""
        check_name(name)
        with self._lock:
            return name in self._objects

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """As Storage.list, of the objects at the moment of the first step."""
        check_prefix(prefix)
        with self._lock:
            objects = [
                ObjectInfo(name, len(whole), modified)
                for name, (whole, modified) in self._objects.items()
                if name.startswith(prefix)
            ]
        yield from objects

    def delete(self, name: str) -> None:
        """As Storage.delete."""
        check_name(name)
        with self._lock:
            self._objects.pop(name, None)

    def free_bytes(self) -> int | None:
        """None: it cannot tell."""
        return None

    def corrupt(self, name: str, whole: bytes) -> None:
        """Replace the bytes of an object, as a failing disk would. Raises ObjectNotFound."""
        with self._lock:
            if name not in self._objects:
                raise ObjectNotFound(name)
            self._objects[name] = (whole, self._objects[name][1])
