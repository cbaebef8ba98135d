"""Blobs for those who read for long, while backups add packs and prunes move blobs."""

import time
from threading import Lock

from backstay.domain.errors import DamagedObject
from backstay.repository.blob_reader import BlobReader
from backstay.repository.index import Index
from backstay.repository.repository import Repository

_RELOAD_EVERY = 30.0


class BlobSource:
    """The repository's blobs by the index as it was at the beginning. Safe to use from several threads.

    What is not found there any more is looked for in the index as the storage has it then, which is loaded
    anew at most twice a minute.

    Attributes:
        repository: the repository.
        index: as it was loaded last.
    """

    def __init__(self, repository: Repository) -> None:
        self.repository = repository
        self.index: Index = repository.load_index()
        self._reader = repository.reader_of(self.index)
        self._lock = Lock()
        self._next_load = 0.0

    @property
    def reader(self) -> BlobReader:
        """Reads by the index at hand."""
        return self._reader

    def read(self, blob_id: bytes) -> bytes:
        """The content of a blob, checked, from any of its places.

        Raises:
            DamagedObject: it is nowhere, or nowhere intact.
            KeyMissing, StorageError.
        """
        reader = self._reader
        try:
            return reader.read(blob_id)
        except DamagedObject:
            newer = self._reload(reader)
            if newer is reader:
                raise
            return newer.read(blob_id)

    def _reload(self, old: BlobReader) -> BlobReader:
        with self._lock:
            if self._reader is old and time.monotonic() >= self._next_load:
                self._next_load = time.monotonic() + _RELOAD_EVERY
                self.index = self.repository.load_index()
                self._reader = self.repository.reader_of(self.index)
            return self._reader
