"""A storage on which several packs are under way at once.

One connection, or one disk that syncs, rarely uses all of a line or of a processor. A put of a pack returns
when it has been handed over; whatever else is put waits until all packs before it are stored, so that the
order of a commit (packs, index, manifest) stays what it is.
"""

import threading
from collections.abc import Sequence

from backstay.storage.interface import Buffer, Storage
from backstay.storage.passing_on import PassingStorage

_PACKS = "packs/"


class InFlightStorage(PassingStorage):
    """Stores packs in threads of its own, everything else in the caller's.

    No Storage for everybody: reads do not see what is still under way, and its errors come later. A pack that
    could not be stored makes each later `put` and `sync` fail with its error, for good: whoever
    goes on as if it were there is stopped at the next sync.

    Args:
        storage: where they go. Safe to use from several threads.
        at_once: packs under way at a time; the put of one more waits. Their bytes stay in memory meanwhile,
            and must not be changed before the next `sync` returns.
    """

    def __init__(self, storage: Storage, at_once: int) -> None:
        super().__init__(storage)
        self._at_once = at_once
        self._changed = threading.Condition()
        self._under_way = 0
        self._failure: BaseException | None = None

    def put(self, name: str, data: Sequence[Buffer]) -> None:
        """As Storage.put; of a pack an error comes later."""
        if not name.startswith(_PACKS):
            self._wait(0)
            self._storage.put(name, data)
            return
        self._wait(self._at_once - 1)
        with self._changed:
            self._under_way += 1
        threading.Thread(target=self._store, args=(name, list(data)), name="put", daemon=True).start()

    def _store(self, name: str, data: Sequence[Buffer]) -> None:
        failure: BaseException | None = None
        try:
            self._storage.put(name, data)
        except BaseException as error:  # noqa: BLE001
            # Whatever it is, it has to reach whoever waits for this pack.
            failure = error
        with self._changed:
            self._failure = self._failure or failure
            self._under_way -= 1
            self._changed.notify_all()

    def _wait(self, most: int) -> None:
        """Wait until no more than `most` packs are under way. Raises as `put`."""
        with self._changed:
            self._changed.wait_for(lambda: self._under_way <= most)
            if self._failure is not None:
                raise self._failure

    def sync(self) -> None:
        """As Storage.sync: all packs are stored and durable when it returns."""
        self._wait(0)
        self._storage.sync()
