"""The façade: make, open, list, read, write."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from backstay.domain.errors import DamagedObject, ObjectExists, RepositoryExists
from backstay.repository.blob_reader import BlobReader
from backstay.repository.config import check_config, put_config, read_config
from backstay.repository.encryption import FrameOpener, blob_hasher
from backstay.repository.index import Index
from backstay.repository.index_cache import IndexCache
from backstay.repository.keys import Secrets, create_keys, open_with_passphrase
from backstay.repository.layout import CONFIG
from backstay.repository.lost_point import Link, lost_by_memory
from backstay.repository.manifest import RestorePoint, read_manifests
from backstay.repository.packer import AskStored
from backstay.repository.recovery_sheet import RecoveryKey
from backstay.repository.tombstone import read_tombstones
from backstay.repository.writing_session import WriterSecrets, WritingSession
from backstay.storage.interface import Storage
from backstay.system.places import cache_root


class Repository:
    """An opened repository.

    Attributes:
        storage: where its objects are.
        secrets: the keys at hand; a write-only credential can write but not read.
        damaged: objects that were found damaged while opening and listing.
    """

    def __init__(self, storage: Storage, secrets: Secrets, *, cache: Path | None = None) -> None:
        self.storage = storage
        self.secrets = secrets
        self.blob_id = blob_hasher(secrets.id_key)
        self.damaged: list[DamagedObject] = []
        self._cache_folder = (cache or cache_root()) / secrets.repository_id.hex()
        self._reader: BlobReader | None = None

    @classmethod
    def create(
        cls, storage: Storage, passphrase: str, *, cache: Path | None = None
    ) -> tuple["Repository", RecoveryKey]:
        """Make a new repository in an empty place.

        Raises:
            RepositoryExists: there is one already.
            StorageError: also where the storage does not keep its promises (Storage.probe).
        """
        if storage.exists(CONFIG):
            raise _exists(storage)
        storage.probe()
        secrets, recovery_key = create_keys(storage, passphrase)
        storage.sync()
        try:
            put_config(storage, secrets.repository_id, secrets.catalogue_key, time.time())
        except ObjectExists as error:
            raise _exists(storage) from error
        storage.sync()
        return cls(storage, secrets, cache=cache), recovery_key

    @classmethod
    def open(cls, storage: Storage, passphrase: str, *, cache: Path | None = None) -> "Repository":
        """Open with a passphrase or recovery key.

        Raises:
            NoRepository, UnsupportedVersion, WrongPassphrase, DamagedObject, StorageError.
        """
        read_config(storage)
        return cls.open_with(storage, open_with_passphrase(storage, passphrase), cache=cache)

    @classmethod
    def open_with(cls, storage: Storage, secrets: Secrets, *, cache: Path | None = None) -> "Repository":
        """Open with keys at hand, as a write-only credential gives them. Raises as `open`."""
        repository_id, config = read_config(storage)
        check_config(config, secrets.catalogue_key)
        if repository_id != secrets.repository_id:
            raise DamagedObject(CONFIG, "it names another repository than the keys do")
        return cls(storage, secrets, cache=cache)

    @property
    def id(self) -> bytes:
        """The repository's id, 16 bytes."""
        return self.secrets.repository_id

    def points(self) -> list[RestorePoint]:
        """All restore points, oldest first; damaged manifests are added to `damaged`."""
        points, damaged = read_manifests(self.storage, self.secrets.catalogue_key)
        self.damaged += damaged
        return points

    def lost_latest(
        self,
        points: Sequence[RestorePoint],
        chain: Sequence[RestorePoint],
        remembered: bytes,
        *,
        as_it_was: bool,
    ) -> Link | None:
        """The latest restore point of a set, where its manifest is lost. Raises StorageError.

        Args:
            points, chain: all restore points that can be read, and those of the set.
            remembered: id of the latest one as this file server remembers it, or empty.
            as_it_was: there was no garbage collection and no rebuild since that was remembered.
        """
        key = self.secrets.catalogue_key
        return lost_by_memory(self.storage, key, points, chain, remembered, as_it_was=as_it_was)

    def load_index(self) -> Index:
        """The index as the storage has it now, tombstones considered."""
        tombstones = read_tombstones(self.storage, self.secrets.catalogue_key, self.damaged)
        condemned = frozenset(pack for stored in tombstones for pack in stored.tombstone.packs)
        index, damaged = self._index_cache().open(self.storage, self.secrets.catalogue_key, condemned)
        self.damaged += damaged
        return index

    def _index_cache(self) -> IndexCache:
        return IndexCache(self._cache_folder / "index")

    def reader(self) -> BlobReader:
        """Reads blobs; the index is loaded at the first call."""
        if self._reader is None:
            self._reader = self.reader_of(self.load_index())
        return self._reader

    def reader_of(self, index: Index) -> BlobReader:
        """Reads blobs where `index` says they are."""
        return BlobReader(
            self.storage,
            index,
            opener=self.frame_opener(),
            blob_id=self.blob_id,
            catalogue_key=self.secrets.catalogue_key,
        )

    def frame_opener(self) -> FrameOpener:
        """Opens the frames of this repository with the private keys at hand."""
        return FrameOpener(self.secrets.private_keys, self.secrets.repository_id)

    def begin(
        self,
        kind: str,
        backup_set: str,
        *,
        workers: int | None = None,
        ask_stored: AskStored | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> WritingSession:
        """Begin to write. Raises StorageError, DamagedObject."""
        return WritingSession(
            self.storage,
            secrets=WriterSecrets(
                repository_id=self.secrets.repository_id,
                public_key=self.secrets.public_key,
                catalogue_key=self.secrets.catalogue_key,
                blob_id=self.blob_id,
            ),
            load_index=self.load_index,
            cache=self._index_cache(),
            kind=kind,
            backup_set=backup_set,
            workers=workers,
            ask_stored=ask_stored,
            clock=clock,
        )


def _exists(storage: Storage) -> RepositoryExists:
    return RepositoryExists(
        f"there is already a repository in {storage.location}",
        hint="use it as it is, or choose another place",
    )
