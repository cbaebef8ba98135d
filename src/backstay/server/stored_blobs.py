"""Which blobs an agent may rely on: those in packs of its own file server, and those that somebody checked.

A stolen agent may upload a blob whose content is not what its id says. So a pack counts for others only when
every blob in it was read and compared with its id (`packs.checked_at`); damaged packs count for nobody.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import or_, select

from backstay.repository.index import Index
from backstay.server.control import Control
from backstay.server.tables import PackRow

_OLDEST_SECONDS = 10.0
_ASKERS_KNOWN = 1000


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
        self._unchecked: dict[bytes, int | None] = {}
        self._askers: OrderedDict[Asker, None] = OrderedDict()
        self._loaded = float("-inf")

    def stored(self, ids: Sequence[bytes], asker: Asker) -> bytes:
        """For each id a byte: 1 if the file server may rely on the blob, else 0. Raises StorageError."""
        index, unchecked = self._current(asker)
        file_server_id = asker.file_server_id
        answers = bytearray(len(ids))
        for number, blob_id in enumerate(ids):
            for location in index.locations(blob_id):
                pack = location.pack
                if pack in index.condemned:
                    continue
                if pack not in unchecked or unchecked[pack] == file_server_id:
                    answers[number] = 1
                    break
        return bytes(answers)

    def _current(self, asker: Asker) -> tuple[Index, dict[bytes, int | None]]:
        with self._lock:
            # Its session has begun before it asked, maybe through another server process. Garbage collection
            # spares what it relies on only if the tombstones of before are known here.
            is_new = asker not in self._askers
            now = time.monotonic()
            if self._index is None or is_new or now - self._loaded > _OLDEST_SECONDS:
                # Asked first: a pack that is stored after this and indexed before the next line is unknown to
                # the answers, never wrongly taken for checked.
                index = self._control.repositories.get(self._id).load_index()
                self._unchecked = self._read_unchecked()
                self._index, self._loaded = index, now
            self._askers[asker] = None
            self._askers.move_to_end(asker)
            while len(self._askers) > _ASKERS_KNOWN:
                self._askers.popitem(last=False)
            return self._index, self._unchecked

    def _read_unchecked(self) -> dict[bytes, int | None]:
        with self._control.database.read() as db:
            rows = db.execute(
                select(PackRow.digest, PackRow.file_server_id, PackRow.damaged).where(
                    PackRow.repository_id == self._id,
                    or_(PackRow.checked_at.is_(None), PackRow.damaged),
                )
            ).all()
        return {bytes.fromhex(row.digest): None if row.damaged else row.file_server_id for row in rows}


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
