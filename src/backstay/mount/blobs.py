"""Blobs for a reader that stays for days, while backups add packs and prunes move them."""

import time
from collections.abc import Callable
from threading import Lock
from typing import Final

from backstay.domain.errors import DamagedObject
from backstay.repository.repository import Repository

_RELOAD_SECONDS: Final = 30.0
"""Damage makes the index be loaded anew no more often than this."""

_LOCKS: Final = 64


class LiveBlobs:
    """Reads blobs by an index that is loaded anew when it proves old. Safe to use from several threads.

    Args:
        clock: seconds that only grow.
    """

    def __init__(self, repository: Repository, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._repository = repository
        self._clock = clock
        self._reader = repository.reader()
        self._loaded = clock()
        self._loading = Lock()
        self._locks = [Lock() for _ in range(_LOCKS)]

    def read(self, blob_id: bytes) -> bytes:
        """The content of a blob, checked.

        Raises:
            DamagedObject: it is nowhere intact, also by the index as the storage has it now.
            KeyMissing, StorageError.
        """
        # The kernel asks for the next pieces of a file at once, from several threads: let one of them decode.
        with self._locks[blob_id[0] % _LOCKS]:
            reader = self._reader
            try:
                return reader.read(blob_id)
            except DamagedObject:
                self._reload(_RELOAD_SECONDS)
                if self._reader is reader:
                    raise
                return self._reader.read(blob_id)

    def reload(self) -> None:
        """Load the index as the storage has it now. Raises StorageError, DamagedObject."""
        self._reload(0)

    def _reload(self, at_most_every: float) -> None:
        with self._loading:
            if self._clock() - self._loaded >= at_most_every:
                self._reader = self._repository.reader_of(self._repository.load_index())
                self._loaded = self._clock()
