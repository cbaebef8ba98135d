"""Which blobs an agent may rely on: those in packs of its own file server, and those that somebody checked.

A stolen agent may upload a blob whose content is not what its id says. So a pack counts for others only when
the database knows that every blob in it was read and compared with its id (`packs.checked_at`). Damaged packs
count for nobody, and neither do packs that the database does not know: `reconcile` takes those in.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import select

from backstay.repository.index import Index
from backstay.server.control import Control
from backstay.server.tables import PackRow

_OLDEST_SECONDS = 10.0
_BATCH = 500
_ASKERS_KNOWN = 1000
_EVERYBODY = 0
"""Stands for all file servers; their numbers begin at 1."""


class Asker(NamedTuple):
    """Which file server asks, and for which lease of which job."""

    file_server_id: int
    job_id: int
    epoch: int


class StoredBlobs:
    """One repository's index in this server process. Safe to use from several threads.

    Args:
        control: this server process.
        repository_id: which repository.
    """

    def __init__(self, control: Control, repository_id: str) -> None:
        self._control = control
        self._id = repository_id
        self._lock = threading.Lock()
        self._index: Index | None = None
        self._owners: dict[bytes, int | None] = {}
        self._askers: OrderedDict[Asker, None] = OrderedDict()
        self._loaded = float("-inf")

    def stored(self, ids: Sequence[bytes], asker: Asker) -> bytes:
        """For each id a byte: 1 if the file server may rely on the blob, else 0. Raises StorageError."""
        index, owners = self._current(asker)
        places = [
            [place.pack for place in index.locations(blob_id) if place.pack not in index.condemned]
            for blob_id in ids
        ]
        self._look_up({pack for packs in places for pack in packs}, owners)
        trusted = {_EVERYBODY, asker.file_server_id}
        return bytes(any(owners[pack] in trusted for pack in packs) for packs in places)

    def _current(self, asker: Asker) -> tuple[Index, dict[bytes, int | None]]:
        with self._lock:
            # Its session has begun before it asked, maybe through another server process. Garbage collection
            # spares what it relies on only if the tombstones of before are known here.
            is_new = asker not in self._askers
            now = time.monotonic()
            if self._index is None or is_new or now - self._loaded > _OLDEST_SECONDS:
                self._index, self._loaded = self._control.repositories.get(self._id).load_index(), now
                self._owners = {}
            self._askers[asker] = None
            self._askers.move_to_end(asker)
            while len(self._askers) > _ASKERS_KNOWN:
                self._askers.popitem(last=False)
            return self._index, self._owners

    def _look_up(self, packs: set[bytes], owners: dict[bytes, int | None]) -> None:
        """Add to `owners` who may rely on each of the packs: a file server, everybody, or nobody (None)."""
        asked = [pack for pack in packs if pack not in owners]
        if not asked:
            return
        found: dict[bytes, int | None] = dict.fromkeys(asked)
        with self._control.database.read() as db:
            for at in range(0, len(asked), _BATCH):
                rows = db.execute(
                    select(PackRow.digest, PackRow.file_server_id, PackRow.checked_at).where(
                        PackRow.repository_id == self._id,
                        PackRow.digest.in_([pack.hex() for pack in asked[at : at + _BATCH]]),
                        PackRow.damaged.is_(False),
                    )
                )
                for digest, file_server_id, checked_at in rows:
                    found[bytes.fromhex(digest)] = _EVERYBODY if checked_at else file_server_id
        owners.update(found)


class StoredBlobsOfAll:
    """StoredBlobs of each repository, made when first asked for."""

    def __init__(self, control: Control) -> None:
        self._control = control
        self._lock = threading.Lock()
        self._known: dict[str, StoredBlobs] = {}

    def of(self, repository_id: str) -> StoredBlobs:
        """That of one repository."""
        with self._lock:
            return self._known.setdefault(repository_id, StoredBlobs(self._control, repository_id))
