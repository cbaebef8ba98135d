"""Every parser of the repository format, each with objects that it accepts: what the fuzzers mutate.

A target's `read` takes the *inside* of an object: it seals the bytes with the right key
and names the object as its bytes demand, so that a mutation reaches the parser behind
the seals, as that of a file server that has been taken over would.
"""

import functools
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import msgspec
from blake3 import blake3

from backstay.domain.entry import Chunk, Entry, Grade, Totals
from backstay.domain.errors import BackstayError
from backstay.repository.blob_reader import BlobReader
from backstay.repository.compression import compress, decompress
from backstay.repository.config import check_config, put_config, read_config
from backstay.repository.credential import export_credential, load_credential
from backstay.repository.details import Details, Problem, StepRecord, put_details, read_details, read_problems
from backstay.repository.encryption import FrameKey, FrameOpener, blob_hasher, frame_nonce, seal
from backstay.repository.index import MAGIC, Index, Location, RunBuilder
from backstay.repository.index_cache import IndexCache
from backstay.repository.key_slot import decode_slot
from backstay.repository.keyring import Secrets, decode_keyring, encode_keyring
from backstay.repository.keys import Argon2Cost, create_keys
from backstay.repository.layout import CONFIG, pack_name
from backstay.repository.manifest import (
    EXPIRY_KIND,
    ExpiredPoint,
    Expiry,
    Manifest,
    encode_manifest,
    read_expiries,
    read_manifests,
)
from backstay.repository.manifest import KIND as MANIFEST_KIND
from backstay.repository.pack import HEAD, TRAILER_KIND, BlobKind, FrameRecord, Trailer, decode_trailer
from backstay.repository.session import KIND as SESSION_KIND
from backstay.repository.session import SessionInfo, list_sessions, read_session
from backstay.repository.tombstone import KIND as TOMBSTONE_KIND
from backstay.repository.tombstone import Tombstone, read_tombstones
from backstay.repository.tree import decode_chunks, encode_entries, find_entry, iterate_chunks, iterate_folder
from backstay.storage.interface import Buffer
from backstay.testing.memory_storage import MemoryStorage

CHEAP = Argon2Cost(2, 19 * 1024, 1)
ID = bytes(range(32))
FRAME = b"frame " * 50


class Target(NamedTuple):
    """A parser: objects that it accepts, how they are read, and whether they are msgpack."""

    samples: list[bytes]
    read: Callable[[bytes], object]
    is_msgpack: bool = True


@functools.cache
def secrets() -> Secrets:
    """The keys of the repository that all objects here belong to."""
    return create_keys(MemoryStorage(), "pw", cost=CHEAP)[0]


def key() -> bytes:
    """Its catalogue key."""
    return secrets().catalogue_key


def outcome(target: Target, data: bytes) -> str:
    """ "read", or the name of the BackstayError that came out; anything else is raised."""
    try:
        target.read(data)
    except BackstayError as error:
        assert str(error)
        return type(error).__name__
    return "read"


def _sealed(kind: bytes, folder: str, data: bytes) -> MemoryStorage:
    storage = MemoryStorage()
    sealed = bytes(seal(key(), kind, data))
    storage.put(f"{folder}/{blake3(sealed).hexdigest()}", [sealed])
    return storage


def _manifest() -> Manifest:
    return Manifest(
        1, bytes(16), "host", "set", 1, ID, bytes(16), 5, "full", ID, ID, Totals(1, 2, 3, 4),
        5, 6, 7, 8, "0.1",
    )  # fmt: skip


def _read_manifest(data: bytes) -> object:
    points, damaged = read_manifests(_sealed(MANIFEST_KIND, "manifests", data), key())
    if damaged:
        raise damaged[0]
    return [(point.short_id, point.name) for point in points]


def _read_expiry(data: bytes) -> object:
    return list(read_expiries(_sealed(EXPIRY_KIND, "expiries", data), key()))


def _read_tombstone(data: bytes) -> object:
    return read_tombstones(_sealed(TOMBSTONE_KIND, "tombstones", data), key())


def _read_session(data: bytes) -> object:
    storage = MemoryStorage()
    storage.put(f"sessions/{'00' * 16}/begin", [seal(key(), SESSION_KIND, data)])
    return read_session(storage, bytes(16), key()), list_sessions(storage)


@functools.cache
def _trailer() -> Trailer:
    trailer = Trailer(bytes(16), [FrameKey.new(secrets().public_key, secrets().repository_id).sealed])
    trailer.frames += [FrameRecord(8, 100, 1000, 0, 0), FrameRecord(108, 92, 300, 0, 1)]
    trailer.add(ID, BlobKind.DATA, 0, 0, 600, b"")
    trailer.add(ID[::-1], BlobKind.PAGE, 1, 0, 300, ID)
    return trailer


def _trailer_inside() -> bytes:
    trailer = _trailer()
    columns = [bytes(column) for column in (trailer.ids, trailer.kinds)]
    columns += [c.tobytes() for c in (trailer.frame_numbers, trailer.offsets, trailer.lengths)]
    return msgspec.msgpack.encode(
        (1, trailer.session, trailer.keys, trailer.frames, *columns, trailer.references)
    )


def _read_trailer(data: bytes) -> object:
    trailer = decode_trailer(bytes(seal(key(), TRAILER_KIND, data)), key(), "a pack", 200)
    RunBuilder().add_pack(ID, 300, trailer)
    return list(trailer.blobs()), trailer.kind_bits()


def _read_run(data: bytes) -> object:
    storage = _sealed(MAGIC, "index", data)
    for number in range(9):
        # Others, so that it is merged with them.
        builder = RunBuilder()
        builder.add_pack(bytes([number]) * 32, 300, _trailer())
        sealed = bytes(seal(key(), MAGIC, builder.encode()))
        storage.put(f"index/{blake3(sealed).hexdigest()}", [sealed])
    with tempfile.TemporaryDirectory(prefix="backstay-fuzz-") as folder:
        index, damaged = IndexCache(Path(folder)).open(storage, key(), frozenset())
        found = [list(index.locations(blob)) for blob in (ID, ID[::-1], bytes(32), b"\xff" * 32)]
        packs = index.packs()
    if damaged:
        raise damaged[0]
    return found, packs


def _run() -> bytes:
    builder = RunBuilder()
    builder.add_pack(ID, 300, _trailer())
    return builder.encode()


def _blobs(data: bytes) -> Callable[[bytes], bytes]:
    # A page that names itself: no hash allows it, yet nothing may hang upon that.
    return lambda blob: data


def _read_page(data: bytes) -> object:
    find_entry(ID, b"file", _blobs(data))
    return list(iterate_folder(ID, _blobs(data)))


def _read_chunks(data: bytes) -> object:
    rows = decode_chunks(data, ID)
    return list(iterate_chunks(rows, _blobs(data)))


def _read_details(data: bytes) -> object:
    return read_details(ID, _blobs(data))


def _read_problems(data: bytes) -> object:
    return list(read_problems(Details(1, _manifest(), [], "", [], [ID]), _blobs(data)))


def _details() -> bytes:
    kept: list[bytes] = []

    def put(kind: BlobKind, data: Buffer, references: bytes = b"") -> bytes:
        kept.append(bytes(data))
        return ID

    step = StepRecord("scan", "done", 1, 2, {"files": 5, "share": 0.5}, ["fine"])
    put_details(Details(1, _manifest(), [b"/home"], "*.tmp", [step], [ID]), put)
    return kept[0]


@functools.cache
def _config() -> bytes:
    storage = MemoryStorage()
    put_config(storage, secrets().repository_id, key(), 1.0)
    return storage.get(CONFIG)


def _read_config(data: bytes) -> object:
    storage = MemoryStorage()
    storage.put(CONFIG, [data])
    _, content = read_config(storage)
    return check_config(content, key())


def _read_credential(data: bytes) -> object:
    return load_credential(data, "a credential")


@functools.cache
def _slot() -> bytes:
    storage = MemoryStorage()
    create_keys(storage, "pw", cost=CHEAP)
    return storage.get(next(iter(storage.list("keys/"))).name)


def _read_keyring(data: bytes) -> object:
    return decode_keyring(data, "a keyring")


def _read_compressed(data: bytes) -> object:
    """A sealed frame whose inside is not what it should be."""
    frame_key = FrameKey.new(secrets().public_key, secrets().repository_id)
    opener = FrameOpener(secrets().private_keys, secrets().repository_id)
    opened = opener.open_frame(frame_key.sealed, frame_nonce(0), frame_key.seal_frame(0, data))
    try:
        return decompress(opened, len(FRAME))
    except ValueError:
        return None


@functools.cache
def _pack() -> bytes:
    blob_id = blob_hasher(secrets().id_key)
    frame_key = FrameKey.new(secrets().public_key, secrets().repository_id)
    sealed = frame_key.seal_frame(0, compress(FRAME))
    trailer = Trailer(bytes(16), [frame_key.sealed])
    trailer.frames.append(FrameRecord(8, len(sealed), len(FRAME), 0, 0))
    trailer.add(blob_id(FRAME[:100]), BlobKind.DATA, 0, 0, 100, b"")
    trailer.add(blob_id(FRAME[100:]), BlobKind.DATA, 0, 100, len(FRAME) - 100, b"")
    return b"".join((HEAD, sealed, trailer.encode(key())))


class _Everywhere(Index):
    """Says that the pack holds every blob, so that each way of reading it is tried."""

    def __init__(self, digest: bytes) -> None:
        super().__init__([])
        self._digest = digest

    def locations(self, blob_id):  # type: ignore[no-untyped-def]
        """Some places in the pack."""
        yield from (Location(self._digest, *place) for place in ((0, 0, 100), (0, 100, 200), (9, 0, 9)))


def _read_pack(data: bytes) -> object:
    storage = MemoryStorage()
    digest = blake3(data).digest()
    storage.put(pack_name(digest), [data])
    reader = BlobReader(
        storage,
        _Everywhere(digest),
        opener=FrameOpener(secrets().private_keys, secrets().repository_id),
        blob_id=blob_hasher(secrets().id_key),
        catalogue_key=key(),
    )
    return reader.read(blob_hasher(secrets().id_key)(FRAME[:100]))


def _entries() -> bytes:
    file = Entry(b"file", 0o100644, 1, 2, 7, 3, 4, 5, 1, Grade.STABLE, chunks=(Chunk(3, ID), Chunk(4, None)))
    entries = [
        file,
        file._replace(name=b"folder", mode=0o040755, chunks=None, page=ID, totals=Totals(1, 2, 3, 4)),
        file._replace(name=b"link", mode=0o120777, chunks=None, inline=b"target"),
        file._replace(name=b"tiny", chunks=None, inline=b"7 bytes", xattrs=((b"user.a", b"b"),), user=b"me"),
    ]
    return encode_entries(entries)


def targets() -> dict[str, Target]:
    """Every parser by name."""
    pack = msgspec.msgpack.encode
    expired = ExpiredPoint(ID, ID, ID, "host", "set", 1, 5)
    rows = ((b"", ID, Totals(1, 2, 3, 4)), (b"m", ID, Totals(1, 2, 3, 4)))
    return {
        "manifest": Target([pack(_manifest())], _read_manifest),
        "expiry": Target([pack(Expiry(1, [expired], 5))], _read_expiry),
        "tombstone": Target([pack(Tombstone(1, "unused", [ID], 5))], _read_tombstone),
        "session": Target([pack(SessionInfo(1, bytes(16), "backup", "host", "set", 7, 5))], _read_session),
        "trailer": Target([_trailer_inside()], _read_trailer),
        "index run": Target([_run()], _read_run, is_msgpack=False),
        "page": Target([_entries(), pack((1, 1, rows))], _read_page),
        "chunk list": Target([pack((1, [Chunk(3, ID), Chunk(4, None)]))], _read_chunks),
        "details": Target([_details()], _read_details),
        "problem list": Target([pack((1, [Problem(b"/a", "vanished", 3)]))], _read_problems),
        "keyring": Target([encode_keyring(secrets().require_keyring())], _read_keyring),
        "slot": Target([_slot()], lambda data: decode_slot(data, "a slot"), is_msgpack=False),
        "config": Target([_config()], _read_config, is_msgpack=False),
        "credential": Target([export_credential(secrets(), "/backup")], _read_credential, is_msgpack=False),
        "compressed frame": Target([compress(FRAME)], _read_compressed, is_msgpack=False),
        "pack": Target([_pack()], _read_pack, is_msgpack=False),
        "sealed manifest": Target(
            [encode_manifest(_manifest(), key())[0]], _read_sealed_manifest, is_msgpack=False
        ),
        "sealed trailer": Target(
            [_trailer().encode(key())[:-16]],
            lambda data: decode_trailer(data, key(), "a pack", 200),
            is_msgpack=False,
        ),
    }


def _read_sealed_manifest(data: bytes) -> object:
    storage = MemoryStorage()
    storage.put(f"manifests/{blake3(data).hexdigest()}", [data])
    points, damaged = read_manifests(storage, key())
    if damaged:
        raise damaged[0]
    return points
