"""A storage that lets go when its user is to stop."""

from collections.abc import Callable, Iterator, Sequence

from backstay.repository.layout import PACKS, SESSIONS
from backstay.storage.interface import Buffer, ObjectInfo, Storage


class StoppableStorage:
    """Passes everything on, but asks first whether to go on; markers of sessions are put in any case.

    Args:
        check: raises where the work is to stop.
        announce: told each pack's name and size before it is put: one that the server does not know of
            would count as checked, whatever is in it.
    """

    def __init__(
        self, inner: Storage, check: Callable[[], None], announce: Callable[[str, int], None]
    ) -> None:
        self._inner = inner
        self._check = check
        self._announce = announce

    @property
    def location(self) -> str:
        """Where it is."""
        return self._inner.location

    def probe(self) -> None:
        """As Storage.probe."""
        self._inner.probe()

    def put(self, name: str, data: Sequence[Buffer]) -> None:
        """As Storage.put."""
        if not name.startswith(SESSIONS):
            self._check()
        if name.startswith(PACKS):
            self._announce(name, sum(memoryview(part).nbytes for part in data))
        self._inner.put(name, data)

    def sync(self) -> None:
        """As Storage.sync."""
        self._inner.sync()

    def secure(self, name: str) -> None:
        """As Storage.secure."""
        self._inner.secure(name)

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        """As Storage.get."""
        self._check()
        return self._inner.get(name, offset, length)

    def size(self, name: str) -> int:
        """As Storage.size."""
        self._check()
        return self._inner.size(name)

    def exists(self, name: str) -> bool:
        """As Storage.exists."""
        return self._inner.exists(name)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """As Storage.list."""
        self._check()
        for info in self._inner.list(prefix):
            self._check()
            yield info

    def delete(self, name: str) -> None:
        """As Storage.delete."""
        self._check()
        self._inner.delete(name)

    def free_bytes(self) -> int | None:
        """As Storage.free_bytes."""
        return self._inner.free_bytes()
