"""One writer's time in a repository: from its registration to the manifest that commits."""

import time
from collections.abc import Callable

from backstay.domain.errors import DamagedObject, ObjectNotFound, RepositoryError
from backstay.repository.encryption import FrameKey
from backstay.repository.index import RUN_ENTRIES, Index
from backstay.repository.index_cache import IndexCache
from backstay.repository.index_store import put_run
from backstay.repository.layout import INDEX, MANIFESTS, PACKS, digest_of, object_name
from backstay.repository.manifest import Manifest, RestorePoint, encode_manifest
from backstay.repository.pack import BlobKind, read_trailer
from backstay.repository.packer import AskStored, BlobId, Packer
from backstay.repository.session import (
    ABANDONED,
    COMMITTED,
    RENEW_SECONDS,
    SessionMarker,
    end_session,
    list_sessions,
)
from backstay.storage.interface import Buffer, Storage

CHECKPOINT_SECONDS = 120
"""What was stored is indexed at least this often, so that an interrupted backup goes on from there."""


class WriterSecrets:
    """What a writer needs of the keys, and no more: it cannot read."""

    def __init__(
        self, *, repository_id: bytes, public_key: bytes, catalogue_key: bytes, blob_id: BlobId
    ) -> None:
        self.repository_id = repository_id
        self.public_key = public_key
        self.catalogue_key = catalogue_key
        self.blob_id = blob_id


class WritingSession:
    """Registers with the storage, stores blobs, and commits a restore point. Belongs to one thread.

    Commit order: packs durable, then index, then manifest. Whatever happens before the
    manifest leaves nothing but blobs that the next session finds and uses.
    """

    def __init__(
        self,
        storage: Storage,
        *,
        secrets: WriterSecrets,
        load_index: Callable[[], Index],
        cache: IndexCache,
        kind: str,
        backup_set: str,
        workers: int | None = None,
        ask_stored: AskStored | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._storage = storage
        self._catalogue_key = secrets.catalogue_key
        self._cache = cache
        self._clock = clock
        # Registered before anything is looked at: garbage collection spares from here on
        # whatever this session may come to rely upon.
        self.marker = SessionMarker(
            storage, secrets.catalogue_key, kind=kind, backup_set=backup_set, now_ns=time.time_ns()
        )
        self.index = load_index()
        self.runs = set(self.index.sources)
        for run in self.runs:
            # Its writer may have died before the sync, and a power cut take it back under our feet.
            storage.secure(object_name(INDEX, run))
        self.packer = Packer(
            storage,
            self.index,
            blob_id=secrets.blob_id,
            key=FrameKey.new(secrets.public_key, secrets.repository_id),
            catalogue_key=secrets.catalogue_key,
            session=self.marker.id,
            workers=workers,
            ask_stored=ask_stored,
        )
        self.adopted = self._adopt_unindexed()
        self._renewed = self._checkpointed = clock()

    @property
    def id(self) -> bytes:
        """The session's id, 16 bytes."""
        return self.marker.id

    def put(self, kind: BlobKind, data: Buffer, references: bytes = b"") -> bytes:
        """Store a blob; see Packer.put."""
        return self.packer.put(kind, data, references)

    def _adopt_unindexed(self) -> int:
        """Take up packs that sessions without an end stored but did not index, and count them."""
        unfinished = {state.id for state in list_sessions(self._storage).values() if not state.ended} - {
            self.id
        }
        if not unfinished:
            return 0
        known = self.index.packs()
        adopted = 0
        for info in self._storage.list(PACKS):
            digest = digest_of(info.name)
            if digest is None or digest in known or digest in self.index.condemned:
                continue
            try:
                trailer = read_trailer(self._storage, info.name, self._catalogue_key, info.size)
            except (DamagedObject, ObjectNotFound):
                continue
            self._storage.secure(info.name)
            self.packer.adopt(digest, info.size, trailer)
            adopted += 1
        return adopted

    def keep_alive(self) -> bool:
        """Renew the lease and store a piece of the index when it is time; call this often.

        Returns whether it is time for a `checkpoint`.
        """
        now = self._clock()
        if now - self._renewed >= RENEW_SECONDS:
            self.marker.renew()
            self._renewed = now
        if self.packer.indexed >= RUN_ENTRIES:
            self._store_run()
        return now - self._checkpointed >= CHECKPOINT_SECONDS

    def checkpoint(self) -> None:
        """Make everything put so far durable and indexed."""
        self.packer.flush()
        self._store_run()
        self._storage.sync()
        self._checkpointed = self._clock()

    def _store_run(self) -> None:
        if not self.packer.indexed:
            return
        # The index must never name a pack that a power cut could still take back.
        self._storage.sync()
        encoded = self.packer.encode_indexed()
        digest = put_run(self._storage, self._catalogue_key, encoded)
        self.index.runs.append(self._cache.add(digest, encoded))
        # Only now: had it failed, the entries would have to go into the next run.
        self.packer.forget_indexed()
        self.runs.add(digest)

    def commit(self, manifest: Manifest) -> RestorePoint:
        """Commit a restore point. It is durable when this returns.

        Raises:
            RepositoryError: this session was silent for so long that it was given up.
            StorageError.
        """
        if manifest.previous:
            self._storage.secure(object_name(MANIFESTS, manifest.previous))
        self.checkpoint()
        if self.marker.has_ended():
            raise _given_up()
        sealed, digest = encode_manifest(manifest, self._catalogue_key)
        name = object_name(MANIFESTS, digest)
        self._storage.put(name, [sealed])
        self._storage.sync()
        if not self.marker.end(COMMITTED):
            self._storage.delete(name)
            self._storage.sync()
            raise _given_up()
        return RestorePoint(digest, manifest)

    def abandon(self) -> None:
        """End without a restore point, keeping everything that was put for the next session.

        Raises:
            StorageError: not everything could be stored. The session stays open, as after a crash, so
                that the next one takes up whatever is there.
        """
        self.checkpoint()
        self.marker.end(ABANDONED)

    def close(self) -> None:
        """End the threads. Without `commit` or `abandon` the session stays open, as after a crash."""
        self.packer.close()

    def end_crashed(self, session: bytes) -> None:
        """Say that an earlier session, known to be dead, has ended; what it stored is indexed by now."""
        end_session(self._storage, session, ABANDONED)


def _given_up() -> RepositoryError:
    return RepositoryError(
        "this backup was silent for so long that its session was given up, "
        "and what it refers to may have been collected",
        hint="run the backup again; whatever is still there is not sent again",
    )
