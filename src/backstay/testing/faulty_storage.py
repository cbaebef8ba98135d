"""A storage that fails by script, one letter an operation."""

import itertools
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence

from backstay.domain.errors import StorageError, StorageFull, StorageUnavailable
from backstay.storage.interface import Buffer, ObjectInfo, Storage

OPERATIONS = ("put", "sync", "secure", "get", "size", "exists", "list", "delete", "free_bytes")
"""What a script may count."""

_SCRIPT = re.compile(r"([.ELSFXw]*)(?:\(([.ELSFXw]+)\))?")


class FaultyStorage(Storage):
    """Passes operations on to `inner`, as far as the script lets it.

    The script has one letter for each operation, in the order in which they begin:

        .  works
        E  fails before anything was done (StorageUnavailable)
        L  is done, but its answer is lost (StorageUnavailable)
        S  breaks off midway: a put leaves nothing visible, a listing has given its
           first line (StorageUnavailable); any other operation fails as with E
        F  the disk is full (StorageFull) for a put; anything else works
        X  the storage vanishes: this operation and all later ones fail (StorageError)
        w  works, after `delay` seconds

    A part in parentheses at the end repeats for ever; without it, everything works
    after the last letter. `"..E"` fails once, `"(.E)"` every second time.

    Args:
        inner: does the work.
        script: as above.
        operations: the operations that take a letter; the others work (until an X).
        delay: seconds, for `w`.
        sleep: waits so many seconds.
    """

    def __init__(
        self,
        inner: Storage,
        script: str,
        *,
        operations: Collection[str] = OPERATIONS,
        delay: float = 0.01,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        match = _SCRIPT.fullmatch(script)
        if not match or not set(operations) <= set(OPERATIONS):
            raise ValueError(f"not a script of faults: {script!r} on {operations}")
        self.inner = inner
        self.counts: Counter[str] = Counter()
        """How many operations of each kind began, failed ones included."""
        self.faults: Counter[str] = Counter()
        """How often each letter but `.` took effect."""
        self._letters = itertools.chain(match[1], itertools.cycle(match[2] or "."))
        self._operations = frozenset(operations)
        self._delay = delay
        self._sleep = sleep
        self._vanished = False
        self._lock = threading.Lock()

    @property
    def location(self) -> str:
        """That of the storage within."""
        return self.inner.location

    def _begin(self, operation: str, name: str = "") -> str:
        """The letter of this operation, once all that precedes it is done; raises where nothing follows."""
        with self._lock:
            self.counts[operation] += 1
            letter = "."
            if not self._vanished and operation in self._operations:
                letter = next(self._letters)
            if letter == "F" and operation != "put":
                letter = "."
            if letter != ".":
                self.faults[letter] += 1
            self._vanished |= letter == "X"
            if self._vanished:
                raise StorageError(f"{operation} {name}: the storage has vanished")
        if letter == "w":
            self._sleep(self._delay)
        if letter == "F":
            raise StorageFull(f"{operation} {name}: the disk is full")
        if letter == "E" or (letter == "S" and operation != "list"):
            raise StorageUnavailable(f"{operation} {name}: failed" + " midway" * (letter == "S"))
        return letter

    def _end(self, letter: str, operation: str, name: str = "") -> None:
        if letter == "L":
            raise StorageUnavailable(f"{operation} {name}: the answer was lost")

    def put(self, name: str, data: Sequence[Buffer]) -> None:
        """As Storage.put, as far as the script lets it."""
        letter = self._begin("put", name)
        self.inner.put(name, data)
        self._end(letter, "put", name)

    def sync(self) -> None:
        """As Storage.sync, as far as the script lets it."""
        letter = self._begin("sync")
        self.inner.sync()
        self._end(letter, "sync")

    def secure(self, name: str) -> None:
        """As Storage.secure, as far as the script lets it."""
        letter = self._begin("secure", name)
        self.inner.secure(name)
        self._end(letter, "secure", name)

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        """As Storage.get, as far as the script lets it."""
        letter = self._begin("get", name)
        data = self.inner.get(name, offset, length)
        self._end(letter, "get", name)
        return data

    def size(self, name: str) -> int:
        """As Storage.size, as far as the script lets it."""
        letter = self._begin("size", name)
        size = self.inner.size(name)
        self._end(letter, "size", name)
        return size

    def exists(self, name: str) -> bool:
        """As Storage.exists, as far as the script lets it."""
        letter = self._begin("exists", name)
        exists = self.inner.exists(name)
        self._end(letter, "exists", name)
        return exists

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """As Storage.list, as far as the script lets it; the operation begins with the first step."""
        letter = self._begin("list", prefix)
        for info in self.inner.list(prefix):
            yield info
            if letter == "S":
                break
        if letter == "S":
            raise StorageUnavailable(f"list {prefix}: broke off")
        self._end(letter, "list", prefix)

    def delete(self, name: str) -> None:
        """As Storage.delete, as far as the script lets it."""
        letter = self._begin("delete", name)
        self.inner.delete(name)
        self._end(letter, "delete", name)

    def free_bytes(self) -> int | None:
        """As Storage.free_bytes, as far as the script lets it."""
        letter = self._begin("free_bytes")
        free = self.inner.free_bytes()
        self._end(letter, "free_bytes")
        return free
