"""Which blobs an agent may rely on: those in packs of its own file server, and those that somebody checked.

A stolen agent may upload a blob whose content is not what its id says. So a pack counts for others only when
every blob in it was read and compared with its id (`packs.checked_at`); damaged packs count for nobody.
"""

import threading
import time
from collections.abc import Sequence

from sqlalchemy import or_, select

from backstay.repository.index import Index
from backstay.server.control import Control
from backstay.server.tables import PackRow

_OLDEST_SECONDS = 10.0


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
        self._loaded = float("-inf")
        self._wanted = float("-inf")

    def refresh(self) -> None:
        """Look at the repository anew before the next answer.

        Called when a session has begun: garbage collection spares what that session relies on only if the
        tombstones of before are known to whoever answers.
        """
        with self._lock:
            self._wanted = time.monotonic()

    def stored(self, ids: Sequence[bytes], file_server_id: int) -> bytes:
        """For each id a byte: 1 if the file server may rely on the blob, else 0. Raises StorageError."""
        index, unchecked = self._current()
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

    def _current(self) -> tuple[Index, dict[bytes, int | None]]:
        with self._lock:
            now = time.monotonic()
            if self._index is None or self._loaded < self._wanted or now - self._loaded > _OLDEST_SECONDS:
                self._loaded = now
                # Asked first: a pack that is stored after this and indexed before the next line is unknown to
                # the answers, never wrongly taken for checked.
                self._index = self._control.repositories.get(self._id).load_index()
                self._unchecked = self._read_unchecked()
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
