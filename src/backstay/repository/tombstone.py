"""Tombstones: packs whose blobs nobody may rely upon any more.

A pack is tombstoned because garbage collection found nothing that needs it, or because
it is damaged. New sessions then store its blobs afresh where they meet them.
"""

from typing import NamedTuple

import msgspec
from blake3 import blake3

from backstay.domain.errors import DamagedObject, ObjectNotFound
from backstay.repository.encryption import seal, unseal
from backstay.repository.layout import TOMBSTONES, digest_of, object_name
from backstay.repository.wire import Id, decode_record
from backstay.storage.interface import Storage

KIND = b"BSTOMBS1"
VERSION = 1
UNUSED = "unused"
DAMAGED = "damaged"


class Tombstone(msgspec.Struct, array_like=True, frozen=True):
    """Digests of condemned packs, and why: "unused" or "damaged"."""

    version: int
    reason: str
    packs: list[Id]
    time_ns: int


_tombstone = msgspec.msgpack.Decoder(Tombstone)


class StoredTombstone(NamedTuple):
    """A tombstone with its name, and when the storage received it (seconds, the storage's clock)."""

    name: str
    modified: float
    tombstone: Tombstone


def put_tombstone(storage: Storage, catalogue_key: bytes, tombstone: Tombstone) -> str:
    """Store a tombstone durably, and return its name."""
    sealed = seal(catalogue_key, KIND, msgspec.msgpack.encode(tombstone))
    name = object_name(TOMBSTONES, blake3(sealed).digest())
    storage.put(name, [sealed])
    storage.sync()
    return name


def read_tombstones(
    storage: Storage, catalogue_key: bytes, damaged: list[DamagedObject] | None = None
) -> list[StoredTombstone]:
    """All tombstones.

    Args:
        damaged: where given, it gets the tombstones that cannot be read, which is all the same to
            whoever deletes nothing: who does must not pass it.

    Raises:
        DamagedObject, UnsupportedVersion.
    """
    found: list[StoredTombstone] = []
    for info in storage.list(TOMBSTONES):
        try:
            sealed = storage.get(info.name)
            tombstone = _decode(sealed, catalogue_key, info.name)
        except ObjectNotFound:
            continue
        except DamagedObject as error:
            if damaged is None:
                raise
            damaged.append(error)
            continue
        found.append(StoredTombstone(info.name, info.modified, tombstone))
    return found


def _decode(sealed: bytes, catalogue_key: bytes, name: str) -> Tombstone:
    if blake3(sealed).digest() != digest_of(name):
        raise DamagedObject(name, "its bytes are not what its name says")
    return decode_record(_tombstone, unseal(catalogue_key, KIND, sealed, name), name, VERSION)
