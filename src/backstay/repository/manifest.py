"""Manifests: each commits one restore point, and names the one before it.

A manifest is an envelope (`BSMANIF1`) under the catalogue key, so the server can list
restore points and collect garbage without being able to read. What names a file is
kept out of it, in a details blob that only a private key opens.
"""

from collections.abc import Iterator

import msgspec
from blake3 import blake3

from backstay.domain.entry import Totals
from backstay.domain.errors import DamagedObject, ObjectNotFound, UsageError
from backstay.repository.encryption import seal, unseal
from backstay.repository.layout import EXPIRIES, MANIFESTS, digest_of, object_name
from backstay.repository.wire import Count, Id, OptionalId, ShortId, decode_record
from backstay.storage.interface import Storage

KIND = b"BSMANIF1"
EXPIRY_KIND = b"BSEXPIR1"
LATEST = "latest"
VERSION = 1


class Manifest(msgspec.Struct, array_like=True, frozen=True):
    """One restore point.

    Attributes:
        file_server, backup_set: whose point it is; each pair has a chain of its own.
        sequence: place in that chain, from 1.
        previous: BLAKE3 of the previous manifest's object, or empty for the first.
        session: id of the writing session.
        time_ns: the restore point's time, nanoseconds since the epoch, UTC; the server's
            clock where there is a server.
        type: "full" or "incremental": what was read.
        root: id of the page of the file system's root.
        details: id of the details blob.
        totals: what the restore point holds.
        problems: number of files with a problem; the details list them.
        read_bytes, new_bytes, stored_bytes: content read, new to the repository, and
            what it took there.
        software: version of Backstay that wrote it.
    """

    version: int
    repository: ShortId
    file_server: str
    backup_set: str
    sequence: Count
    previous: OptionalId
    session: ShortId
    time_ns: int
    type: str
    root: Id
    details: OptionalId
    totals: Totals
    problems: Count
    read_bytes: Count
    new_bytes: Count
    stored_bytes: Count
    software: str


class RestorePoint(msgspec.Struct, frozen=True):
    """A manifest together with the digest that names it."""

    id: bytes
    manifest: Manifest

    @property
    def short_id(self) -> str:
        """The first ten hexadecimal digits of the id, as shown to users."""
        return self.id.hex()[:10]

    @property
    def name(self) -> str:
        """The manifest's name in the storage."""
        return object_name(MANIFESTS, self.id)


class ExpiredPoint(msgspec.Struct, array_like=True, frozen=True):
    """A restore point that was taken out."""

    id: Id
    previous: OptionalId
    details: OptionalId
    file_server: str
    backup_set: str
    sequence: Count
    time_ns: int


class Expiry(msgspec.Struct, array_like=True, frozen=True):
    """Says that restore points were taken out on purpose, so that their gap in the chain is no damage.

    Attributes:
        points: for each what the chain and a rebuild need to know.
        time_ns: when.
    """

    version: int
    points: list[ExpiredPoint]
    time_ns: int


_manifest = msgspec.msgpack.Decoder(Manifest)
_expiry = msgspec.msgpack.Decoder(Expiry)


def encode_manifest(manifest: Manifest, catalogue_key: bytes) -> tuple[bytes, bytes]:
    """The manifest's object and its digest."""
    sealed = bytes(seal(catalogue_key, KIND, msgspec.msgpack.encode(manifest)))
    return sealed, blake3(sealed).digest()


def decode_manifest(sealed: bytes, catalogue_key: bytes, name: str) -> RestorePoint:
    """The restore point from its object. Raises DamagedObject, UnsupportedVersion."""
    digest = blake3(sealed).digest()
    if digest != digest_of(name):
        raise DamagedObject(name, "its bytes are not what its name says")
    raw = unseal(catalogue_key, KIND, sealed, name)
    return RestorePoint(digest, decode_record(_manifest, raw, name, VERSION))


def read_manifests(storage: Storage, catalogue_key: bytes) -> tuple[list[RestorePoint], list[DamagedObject]]:
    """All restore points, oldest first, and the manifests that cannot be read."""
    points: list[RestorePoint] = []
    damaged: list[DamagedObject] = []
    for info in storage.list(MANIFESTS):
        try:
            points.append(decode_manifest(storage.get(info.name), catalogue_key, info.name))
        except DamagedObject as error:
            damaged.append(error)
        except ObjectNotFound:
            continue
    points.sort(key=lambda point: (point.manifest.time_ns, point.manifest.sequence))
    return points, damaged


def encode_expiry(expiry: Expiry, catalogue_key: bytes) -> tuple[bytes, bytes]:
    """The expiry record's object and its digest."""
    sealed = bytes(seal(catalogue_key, EXPIRY_KIND, msgspec.msgpack.encode(expiry)))
    return sealed, blake3(sealed).digest()


def read_expiries(storage: Storage, catalogue_key: bytes) -> Iterator[Expiry]:
    """Every expiry record. Raises DamagedObject, UnsupportedVersion."""
    for info in storage.list(EXPIRIES):
        raw = unseal(catalogue_key, EXPIRY_KIND, storage.get(info.name), info.name)
        yield decode_record(_expiry, raw, info.name, VERSION)


def is_of_set(point: RestorePoint, backup_set: str) -> bool:
    """Whether a point is of the set that a user names: by itself, or as `FILE-SERVER/NAME`."""
    manifest = point.manifest
    return backup_set in {manifest.backup_set, f"{manifest.file_server}/{manifest.backup_set}"}


def choose_point(points: list[RestorePoint], wanted: str, *, backup_set: str | None = None) -> RestorePoint:
    """The restore point that a user names: "latest", or the beginning of its id.

    Raises:
        UsageError: none fits, or several do.
    """
    pool = [point for point in points if backup_set is None or is_of_set(point, backup_set)]
    if wanted == LATEST:
        if not pool:
            of_set = f" of the set {backup_set}" if backup_set else ""
            raise UsageError(
                f"there is no restore point{of_set} yet", hint="make one with `backstay repo backup`"
            )
        chains = {(point.manifest.file_server, point.manifest.backup_set) for point in pool}
        if len(chains) > 1:
            one_server = len({server for server, _ in chains}) == 1
            names = ", ".join(sorted(name if one_server else f"{server}/{name}" for server, name in chains))
            raise UsageError(
                "'latest' could mean several backup sets here", hint=f"choose one with --set: {names}"
            )
        return pool[-1]
    found = [point for point in pool if point.id.hex().startswith(wanted.lower())] if len(wanted) >= 4 else []
    if not found:
        raise UsageError(
            f"there is no restore point {wanted}",
            hint="`backstay repo points` lists them; four digits are enough",
        )
    if len(found) > 1:
        raise UsageError(f"{wanted} fits {len(found)} restore points", hint="give more digits of its id")
    return found[0]
