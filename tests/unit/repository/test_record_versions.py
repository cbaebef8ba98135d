"""Records tell their version before anything else, and who wrote them is not believed."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from blake3 import blake3

from backstay.domain.entry import Totals
from backstay.domain.errors import BackstayError, DamagedObject, RepositoryError, UnsupportedVersion
from backstay.repository.details import (
    Details,
    Problem,
    put_details,
    put_problems,
    read_details,
    read_problems,
)
from backstay.repository.encryption import SEALED_KEY_BYTES, seal
from backstay.repository.manifest import (
    EXPIRY_KIND,
    KIND,
    Manifest,
    decode_manifest,
    encode_manifest,
    read_expiries,
)
from backstay.repository.pack import (
    FOOT,
    HEAD,
    MAX_BLOB_BYTES,
    MAX_FRAME_BYTES,
    TRAILER_KIND,
    BlobKind,
    FrameRecord,
    Trailer,
    decode_trailer,
)
from backstay.repository.repository import Repository
from backstay.repository.session import (
    KIND as SESSION_KIND,
)
from backstay.repository.session import (
    REVOKED,
    SessionMarker,
    end_session,
    forget_session,
    read_session,
)
from backstay.repository.tombstone import KIND as TOMBSTONE_KIND
from backstay.repository.tombstone import read_tombstones
from backstay.storage.interface import Buffer
from backstay.storage.local import LocalStorage

KEY = b"k" * 32
LATER = msgspec.msgpack.encode((2, {"something": "else"}))


def _named(kind: bytes, folder: str, storage: LocalStorage) -> str:
    sealed = bytes(seal(KEY, kind, LATER))
    name = f"{folder}/{blake3(sealed).hexdigest()}"
    storage.put(name, [sealed])
    return name


def _manifest(storage: LocalStorage) -> object:
    name = _named(KIND, "manifests", storage)
    return decode_manifest(storage.get(name), KEY, name)


def _expiry(storage: LocalStorage) -> object:
    _named(EXPIRY_KIND, "expiries", storage)
    return list(read_expiries(storage, KEY))


def _tombstone(storage: LocalStorage) -> object:
    _named(TOMBSTONE_KIND, "tombstones", storage)
    return read_tombstones(storage, KEY)


def _session(storage: LocalStorage) -> object:
    storage.put(f"sessions/{'00' * 16}/begin", [seal(KEY, SESSION_KIND, LATER)])
    return read_session(storage, bytes(16), KEY)


def _trailer(storage: LocalStorage) -> object:
    return decode_trailer(bytes(seal(KEY, TRAILER_KIND, LATER)), KEY, "a pack", len(HEAD))


def _details(storage: LocalStorage) -> object:
    return read_details(bytes(32), lambda blob: LATER)


def _problems(storage: LocalStorage) -> object:
    manifest = _some_manifest()
    return list(read_problems(Details(1, manifest, [], "", [], [bytes(32)]), lambda blob: LATER))


def _some_manifest() -> Manifest:
    return Manifest(
        1, bytes(16), "host", "set", 1, b"", bytes(16), 5, "full", bytes(32), b"", Totals(),
        0, 0, 0, 0, "0.1",
    )  # fmt: skip


@pytest.mark.parametrize("read", [_manifest, _expiry, _tombstone, _session, _trailer, _details, _problems])
def test_a_later_version_is_no_damage(read: Callable[[LocalStorage], object], tmp_path: Path) -> None:
    """Every record of a later version is refused as such, whatever follows its version."""
    with pytest.raises(UnsupportedVersion):
        read(LocalStorage(tmp_path / "r", create=True))


def test_a_session_given_up_and_forgotten_cannot_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A writer that was revoked learns of it also after all its markers are gone."""
    storage = LocalStorage(tmp_path / "r", create=True)
    marker = SessionMarker(storage, KEY, kind="backup", backup_set="s", now_ns=0)
    assert end_session(storage, marker.id, REVOKED)
    forget_session(storage, marker.id)
    assert not marker.end(b"committed")


def test_a_revoked_session_leaves_no_restore_point(tmp_path: Path) -> None:
    """A commit that comes too late is refused, and is not listed as a restore point."""
    storage = LocalStorage(tmp_path / "r", create=True)
    repository, _ = Repository.create(storage, "pw", cache=tmp_path / "cache")
    session = repository.begin("backup", "s")
    try:
        root = session.put(BlobKind.PAGE, b"page")
        assert end_session(storage, session.id, REVOKED)
        manifest = msgspec.structs.replace(_some_manifest(), root=root, repository=repository.id)
        with pytest.raises(RepositoryError):
            session.commit(manifest)
    finally:
        session.close()
    assert repository.points() == []


def test_a_session_marker_of_another_session_is_damage(tmp_path: Path) -> None:
    """A begin marker counts only in its own folder."""
    storage = LocalStorage(tmp_path / "r", create=True)
    marker = SessionMarker(storage, KEY, kind="backup", backup_set="s", now_ns=0)
    storage.put(f"sessions/{'00' * 16}/begin", [storage.get(f"sessions/{marker.id.hex()}/begin")])
    with pytest.raises(DamagedObject):
        read_session(storage, bytes(16), KEY)


def test_a_tombstone_under_another_name_is_damage(tmp_path: Path) -> None:
    """A tombstone is named by its bytes."""
    storage = LocalStorage(tmp_path / "r", create=True)
    storage.put(f"tombstones/{'00' * 32}", [seal(KEY, TOMBSTONE_KIND, LATER)])
    with pytest.raises(DamagedObject):
        read_tombstones(storage, KEY)


def test_fields_of_impossible_size_are_damage() -> None:
    """Ids have their length, and counts are not negative."""
    for change in ({"root": b"short"}, {"problems": -1}, {"session": b""}, {"previous": bytes(33)}):
        sealed, digest = encode_manifest(msgspec.structs.replace(_some_manifest(), **change), KEY)
        with pytest.raises(DamagedObject):
            decode_manifest(sealed, KEY, f"manifests/{digest.hex()}")


@pytest.mark.parametrize(
    "frames",
    [
        [FrameRecord(8, 100, MAX_FRAME_BYTES + 1, 0, 0)],
        [FrameRecord(9, 99, 10, 0, 0)],
        [FrameRecord(8, 50, 10, 0, 0)],
        [FrameRecord(8, 100, 10, 1, 0)],
        [FrameRecord(8, 60, 10, 0, 0), FrameRecord(60, 48, 10, 0, 1)],
        [FrameRecord(8, 101, 10, 0, 0)],
        [],
    ],
)
def test_frames_fill_the_pack(frames: list[FrameRecord]) -> None:
    """A trailer whose frames overlap, leave gaps or would need much memory is refused."""
    trailer = Trailer(bytes(16), [bytes(SEALED_KEY_BYTES)], frames)
    encoded = trailer.encode(KEY)
    assert encoded.endswith(FOOT)
    with pytest.raises(DamagedObject):
        decode_trailer(encoded[:-16], KEY, "a pack", 108)


def test_long_lists_of_problems_are_split() -> None:
    """No blob of problems grows with their number or the length of their paths."""
    blobs: list[bytes] = []

    def put(kind: BlobKind, data: Buffer, references: bytes = b"") -> bytes:
        blobs.append(bytes(data))
        return (len(blobs) - 1).to_bytes(32, "big")

    problems = [Problem(b"/" + bytes([65 + n % 26]) * 300_000, "vanished", 3) for n in range(20)]
    ids = put_problems(problems, put)
    details = put_details(Details(1, _some_manifest(), [], "", [], ids), put)
    read = read_details(details, lambda blob: blobs[int.from_bytes(blob, "big")])
    assert max(map(len, blobs)) < 2 << 20
    assert list(read_problems(read, lambda blob: blobs[int.from_bytes(blob, "big")])) == problems


def test_a_blob_too_long_is_refused(tmp_path: Path) -> None:
    """Nothing is stored that a reader would refuse as too long."""
    repository, _ = Repository.create(
        LocalStorage(tmp_path / "r", create=True), "pw", cache=tmp_path / "cache"
    )
    session = repository.begin("backup", "s")
    try:
        with pytest.raises(BackstayError):
            session.put(BlobKind.PAGE, bytes(MAX_BLOB_BYTES + 1))
    finally:
        session.close()
