"""A storage that passes everything on: what a wrapper changes is all that it says."""

from collections.abc import Iterator, Sequence

from backstay.storage.interface import Buffer, ObjectInfo, Storage


class PassingStorage(Storage):
    """Does what the storage within does.

    Args:
        storage: the storage within.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    @property
    def location(self) -> str:
        """That of the storage within."""
        return self._storage.location

    def probe(self) -> None:
        """As Storage.probe."""
        self._storage.probe()

    def put(self, name: str, data: Sequence[Buffer]) -> None:
        """As Storage.put."""
        self._storage.put(name, data)

    def sync(self) -> None:
        """As Storage.sync."""
        self._storage.sync()

    def secure(self, name: str) -> None:
        """As Storage.secure."""
        self._storage.secure(name)

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        """As Storage.get."""
        return self._storage.get(name, offset, length)

    def size(self, name: str) -> int:
        """As Storage.size."""
        return self._storage.size(name)

    def exists(self, name: str) -> bool:
        """As Storage.exists."""
        return self._storage.exists(name)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """As Storage.list."""
        return self._storage.list(prefix)

    def delete(self, name: str) -> None:
        """As Storage.delete."""
        self._storage.delete(name)

    def free_bytes(self) -> int | None:
        """As Storage.free_bytes."""
        return self._storage.free_bytes()
