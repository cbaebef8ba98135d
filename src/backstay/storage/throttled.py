"""A storage that keeps to so many bytes a second."""

import threading
import time
from collections.abc import Callable, Sequence

from backstay.storage.interface import Buffer, Storage
from backstay.storage.passing_on import PassingStorage

_SLICES_PER_SECOND = 10
_ASK_AGAIN_AFTER = 1.0


class Throttle:
    """A token bucket of bytes, shared by all threads that call `spend`.

    Bytes are spent in slices of a tenth of a second, so that threads take turns
    (a small object does not wait for all of a large one) and a changed limit
    holds at once.

    Args:
        limit: bytes per second at this moment; None: no limit; 0: nothing may pass for now.
            Asked before every slice.
        burst: seconds of unused allowance that are saved up.
        clock: seconds, monotonic.
        sleep: waits so many seconds; may raise to give up.
    """

    def __init__(
        self,
        limit: Callable[[], float | None],
        *,
        burst: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._limit = limit
        self._burst = burst
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._paid_until = clock() - burst

    def spend(self, count: int) -> None:
        """Return when `count` more bytes may have passed."""
        while count > 0:
            limit = self._limit()
            if limit is None:
                return
            if limit <= 0:
                self._sleep(_ASK_AGAIN_AFTER)
                continue
            slice_ = min(count, max(1, int(limit / _SLICES_PER_SECOND)))
            count -= slice_
            wait = self._reserve(slice_ / limit)
            if wait > 0:
                self._sleep(wait)

    def _reserve(self, seconds: float) -> float:
        """Take the next `seconds` of the line; how long until they have passed."""
        with self._lock:
            now = self._clock()
            self._paid_until = max(self._paid_until, now - self._burst) + seconds
            return self._paid_until - now


class ThrottledStorage(PassingStorage):
    """Puts and gets wait for a Throttle; everything else passes at once.

    A put waits before it hands the object on, a get before it returns, so over
    time the bytes keep to the limit, while a single object passes at the speed
    of the line.

    Args:
        storage: where the bytes go.
        throttle: may be shared between several storages that share a line.
    """

    def __init__(self, storage: Storage, throttle: Throttle) -> None:
        super().__init__(storage)
        self._throttle = throttle

    def put(self, name: str, data: Sequence[Buffer]) -> None:
        """As Storage.put."""
        self._throttle.spend(sum(memoryview(buffer).nbytes for buffer in data))
        self._storage.put(name, data)

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        """As Storage.get."""
        data = self._storage.get(name, offset, length)
        self._throttle.spend(len(data))
        return data
