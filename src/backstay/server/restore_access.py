"""What a restore may read: the packs that its restore point needs, and the data keys in them.

The agent gets no private key. It fetches sealed frames, and for each writing session whose packs it needs the
one data key that opens them. What a restore has not been ordered for stays closed to a stolen file server.
"""

import threading
from collections import OrderedDict

from backstay.domain.errors import DamagedObject, KeyMissing
from backstay.repository.layout import MANIFESTS, digest_of, object_name, pack_name
from backstay.repository.manifest import decode_manifest
from backstay.repository.needed_packs import packs_needed_by
from backstay.repository.pack import read_trailer
from backstay.server.control import Control
from backstay.server.grants import Grant, refused

_POINTS_REMEMBERED = 16


class RestoreAccess:
    """Knows the packs of the restore points that are being restored. Safe to use from several threads."""

    def __init__(self, control: Control) -> None:
        self._control = control
        self._lock = threading.Lock()
        self._needed: OrderedDict[tuple[str, str], frozenset[bytes]] = OrderedDict()

    def require_pack(self, grant: Grant, name: str) -> None:
        """Raises Forbidden where the restore point needs nothing of this pack."""
        digest = digest_of(name)
        if digest is None or digest not in self._packs(grant):
            raise refused(f"{name} was to be read")

    def data_key(self, grant: Grant, pack: str, sealed_key: bytes) -> bytes:
        """The data key that opens the frames of a pack.

        Args:
            pack: hexadecimal digest.
            sealed_key: as the pack's trailer has it.

        Raises:
            Forbidden: the restore does not need the pack, or the key is not one of it.
            KeyMissing: this server holds no private key.
            DamagedObject: no private key of the repository opens it.
        """
        try:
            digest = bytes.fromhex(pack)
        except ValueError:
            raise refused("a data key was asked for without a pack") from None
        name = pack_name(digest)
        if not grant.reads:
            raise refused("a data key was asked for by a backup")
        self.require_pack(grant, name)
        repository = self._control.repositories.get(grant.repository_id)
        trailer = read_trailer(repository.storage, name, repository.secrets.catalogue_key)
        if sealed_key not in trailer.keys:
            raise refused(f"a data key was asked for that is not one of {name}")
        if not repository.secrets.can_read:
            raise KeyMissing(
                "this server holds no private key of the repository",
                hint="restore with `backstay repo restore` and a passphrase or the recovery key",
            )
        key = repository.frame_opener().data_key(sealed_key)
        if key is None:
            raise DamagedObject(name, "no private key of this repository opens its data key")
        return key

    def _packs(self, grant: Grant) -> frozenset[bytes]:
        key = (grant.repository_id, grant.restore_point)
        with self._lock:
            known = self._needed.get(key)
            if known is None:
                known = self._needed[key] = self._find(grant)
                while len(self._needed) > _POINTS_REMEMBERED:
                    self._needed.popitem(last=False)
            return known

    def _find(self, grant: Grant) -> frozenset[bytes]:
        repository = self._control.repositories.get(grant.repository_id)
        name = object_name(MANIFESTS, bytes.fromhex(grant.restore_point))
        point = decode_manifest(repository.storage.get(name), repository.secrets.catalogue_key, name)
        return packs_needed_by(repository, point)
