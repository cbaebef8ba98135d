"""A storage that tries again what may pass."""

import random
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TypeVar

from backstay.domain.errors import StorageError
from backstay.storage.interface import Buffer, ObjectInfo, Storage

_Result = TypeVar("_Result")


class Retry(NamedTuple):
    """One failed attempt that will be followed by another.

    Args:
        operation: the method of Storage.
        name: the object or prefix; empty for sync and free_bytes.
        attempt: which attempt failed, from 1.
        delay: seconds until the next.
        error: why it failed.
    """

    operation: str
    name: str
    attempt: int
    delay: float
    error: StorageError


class RetryingStorage(Storage):
    """Repeats an operation that failed with a retryable error, waiting longer each time.

    The n-th wait is between half and all of `first_delay * 2**(n-1)`, at most
    `longest_delay`: spread by chance, so that many agents do not return at once.
    Each operation may be repeated safely because the promises of Storage say so.

    Args:
        storage: the one that may fail.
        attempts: how often an operation is tried in all; at least 1.
        first_delay, longest_delay: seconds.
        sleep: waits so many seconds; may raise (Cancelled, say) to give up at once.
        chance: a number from 0 to 1.
        patience: seconds after which nothing is tried again: since this operation began, and since any
            began to fail if none has succeeded meanwhile.
        clock: seconds, for the patience.
        on_retry: told of every wait before it begins, in the thread that waits.
    """

    def __init__(
        self,
        storage: Storage,
        attempts: int = 6,
        *,
        first_delay: float = 0.5,
        longest_delay: float = 60.0,
        sleep: Callable[[float], None] = time.sleep,
        chance: Callable[[], float] = random.random,
        on_retry: Callable[[Retry], None] = lambda retry: None,
        patience: float = float("inf"),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if attempts < 1:
            raise ValueError("attempts must be at least 1")
        self._storage = storage
        self._attempts = attempts
        self._first_delay = first_delay
        self._longest_delay = longest_delay
        self._sleep = sleep
        self._chance = chance
        self._on_retry = on_retry
        self._patience = patience
        self._clock = clock
        self._failing_since: float | None = None

    @property
    def location(self) -> str:
        """That of the storage within."""
        return self._storage.location

    def probe(self) -> None:
        """As Storage.probe."""
        self.repeat("probe", "", self._storage.probe)

    def put(self, name: str, data: Sequence[Buffer]) -> None:
        """As Storage.put."""
        self.repeat("put", name, lambda: self._storage.put(name, data))

    def sync(self) -> None:
        """As Storage.sync."""
        self.repeat("sync", "", self._storage.sync)

    def secure(self, name: str) -> None:
        """As Storage.secure."""
        self.repeat("secure", name, lambda: self._storage.secure(name))

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        """As Storage.get."""
        return self.repeat("get", name, lambda: self._storage.get(name, offset, length))

    def size(self, name: str) -> int:
        """As Storage.size."""
        return self.repeat("size", name, lambda: self._storage.size(name))

    def exists(self, name: str) -> bool:
        """As Storage.exists."""
        return self.repeat("exists", name, lambda: self._storage.exists(name))

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """As Storage.list. A listing that breaks off is begun anew, without what it had already given.

        An attempt that gave anything new counts as a success: only attempts in a row that
        give nothing are limited.
        """
        seen: set[str] = set()
        failed, began = 0, self._clock()
        while True:
            before = len(seen)
            try:
                for info in self._storage.list(prefix):
                    if info.name not in seen:
                        seen.add(info.name)
                        yield info
                self._failing_since = None
                return
            except StorageError as error:
                failed = 1 if len(seen) > before else failed + 1
                self._wait_or_raise("list", prefix, failed, error, began)

    def delete(self, name: str) -> None:
        """As Storage.delete."""
        self.repeat("delete", name, lambda: self._storage.delete(name))

    def free_bytes(self) -> int | None:
        """As Storage.free_bytes."""
        return self.repeat("free_bytes", "", self._storage.free_bytes)

    def repeat(self, operation: str, name: str, attempt: Callable[[], _Result]) -> _Result:
        """Do what may fail, again and again as the operations of a storage are. Raises as `attempt` does."""
        failed, began = 0, self._clock()
        while True:
            try:
                result = attempt()
            except StorageError as error:
                failed += 1
                self._wait_or_raise(operation, name, failed, error, began)
            else:
                self._failing_since = None
                return result

    def _wait_or_raise(
        self, operation: str, name: str, failed: int, error: StorageError, began: float
    ) -> None:
        if not error.retryable:
            # The storage has answered.
            self._failing_since = None
            raise error
        # One for all threads and operations: a storage that is away is away for each of them.
        since = self._failing_since = began if self._failing_since is None else self._failing_since
        if failed >= self._attempts or self._clock() - min(since, began) >= self._patience:
            raise error
        longest = min(self._longest_delay, self._first_delay * 2 ** min(failed - 1, 60))
        delay = longest * (1 + self._chance()) / 2
        self._on_retry(Retry(operation, name, failed, delay, error))
        self._sleep(delay)
