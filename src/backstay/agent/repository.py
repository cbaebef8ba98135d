"""The repository as an agent reaches it: through the server, write-only, or for one restore."""

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from backstay.agent.questions import Questions
from backstay.domain.errors import BackstayError, DamagedObject
from backstay.repository.encryption import FrameOpener
from backstay.repository.index import Index
from backstay.repository.keyring import Secrets
from backstay.repository.layout import INDEX, MANIFESTS, digest_of
from backstay.repository.lost_point import Link
from backstay.repository.manifest import RestorePoint, decode_manifest
from backstay.repository.packer import AskStored
from backstay.repository.repository import Repository
from backstay.repository.tombstone import read_tombstones
from backstay.repository.writing_session import WritingSession
from backstay.storage.gateway import GatewayStorage
from backstay.storage.interface import Storage
from backstay.storage.retrying import RetryingStorage


class WriteOnlyRepository(Repository):
    """For a backup: what is stored already the server is asked, in batches, so no index is fetched.

    Args:
        gateway: the storage behind the server.
        storage: the same, as it is used: retrying, throttled.
        retrying: repeats what may pass.
    """

    def __init__(
        self,
        gateway: GatewayStorage,
        storage: Storage,
        retrying: RetryingStorage,
        secrets: Secrets,
        *,
        cache: Path,
    ) -> None:
        super().__init__(storage, secrets, cache=cache)
        self._gateway = gateway
        self._retrying = retrying
        self._questions = Questions(self._ask_server)

    def points(self) -> list[RestorePoint]:
        """The restore points of this file server, oldest first, fetched in one answer."""
        contents = self._retrying.repeat("list", MANIFESTS, lambda: self._gateway.contents(MANIFESTS))
        points: list[RestorePoint] = []
        for name, sealed in contents.items():
            try:
                points.append(decode_manifest(sealed, self.secrets.catalogue_key, name))
            except DamagedObject as error:
                self.damaged.append(error)
        points.sort(key=lambda point: (point.manifest.time_ns, point.manifest.sequence))
        return points

    def lost_latest(
        self,
        points: Sequence[RestorePoint],
        chain: Sequence[RestorePoint],
        remembered: bytes,
        *,
        as_it_was: bool,
    ) -> Link | None:
        """As Repository.lost_latest; the server knows which point is the latest of the job's set."""
        latest = self._retrying.repeat("latest", MANIFESTS, self._gateway.latest)
        if latest is None or any(point.id == latest.id for point in points):
            return None
        return Link(latest.id, latest.sequence)

    def load_index(self) -> Index:
        """An index that knows nothing yet, but which runs there are and which packs are condemned."""
        stones = read_tombstones(self.storage, self.secrets.catalogue_key, self.damaged)
        condemned = frozenset(pack for stone in stones for pack in stone.tombstone.packs)
        runs = {digest for info in self.storage.list(INDEX) if (digest := digest_of(info.name))}
        return Index([], condemned, frozenset(runs))

    def begin(
        self,
        kind: str,
        backup_set: str,
        *,
        workers: int | None = None,
        ask_stored: AskStored | None = None,
        clock: Callable[[], float] | None = None,
    ) -> WritingSession:
        """As Repository.begin; the server is asked what is stored."""
        more = {"clock": clock} if clock is not None else {}
        return super().begin(
            kind, backup_set, workers=workers, ask_stored=ask_stored or self.ask_stored, **more
        )

    def ask_stored(self, ids: Sequence[bytes]) -> Sequence[bool]:
        """Which of these blobs this agent may rely on; threads that ask at one time share a request."""
        return self._questions.ask(ids)

    def _ask_server(self, ids: Sequence[bytes]) -> Sequence[bool]:
        return self._retrying.repeat("stored", "", lambda: self._gateway.stored(ids))


class _OpenerThroughServer(FrameOpener):
    """Opens frames with data keys that the server gives for packs that the restore needs."""

    def __init__(self, gateway: GatewayStorage, retrying: RetryingStorage, repository_id: bytes) -> None:
        super().__init__([], repository_id)
        self._gateway = gateway
        self._retrying = retrying
        self._keys: dict[bytes, bytes] = {}
        self._lock = threading.Lock()

    def data_key(self, sealed_key: bytes, name: str = "a frame") -> bytes | None:
        """As FrameOpener.data_key; `name` is the pack's."""
        with self._lock:
            known = self._keys.get(sealed_key)
        if known is None:
            pack = name.rpartition("/")[2]
            known = self._retrying.repeat("data-key", name, lambda: self._gateway.data_key(pack, sealed_key))
            with self._lock:
                self._keys[sealed_key] = known
        return known


class RestoringRepository(Repository):
    """For a restore: reads the packs that one restore point needs."""

    def __init__(
        self, gateway: GatewayStorage, retrying: RetryingStorage, secrets: Secrets, *, cache: Path
    ) -> None:
        super().__init__(retrying, secrets, cache=cache)
        self._opener = _OpenerThroughServer(gateway, retrying, secrets.repository_id)

    def frame_opener(self) -> FrameOpener:
        """Asks the server for data keys."""
        return self._opener


def error_line(error: BackstayError) -> str:
    """An error in one line, with its hint."""
    return f"{error.what} ({error.hint})" if error.hint else error.what
