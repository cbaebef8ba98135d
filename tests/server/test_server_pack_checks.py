"""Poisoning, as whoever has taken over a file server would do it; and damage, found and named."""

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from random import Random

import pytest
from blake3 import blake3
from fastapi.testclient import TestClient
from sqlalchemy import select
from tests.server.conftest import MovableClock
from tests.server.upkeep_rig import (
    Protected,
    location_of,
    point_row,
    repository_id_of,
    run_job,
)

from backstay.repository.compression import compress
from backstay.repository.encryption import FrameKey
from backstay.repository.index import RunBuilder
from backstay.repository.index_store import put_run
from backstay.repository.layout import PACKS, pack_name
from backstay.repository.pack import HEAD, BlobKind, FrameRecord, Trailer
from backstay.repository.repository import Repository
from backstay.repository.tombstone import DAMAGED, read_tombstones
from backstay.repository.verify import run_verify
from backstay.server import pack_checks, reconcile
from backstay.server.control import Control
from backstay.server.stored_blobs import Asker, StoredBlobs
from backstay.server.tables import AuditEntry, FileServer, JobProblem, JobRow, PackRow
from backstay.storage.registry import open_storage

CONTENT = Random(7).randbytes(20_000)


# SQLite alone: what is tested here lies in the repository.
pytestmark = pytest.mark.parametrize("control", ["sqlite"], indirect=True)


@pytest.fixture
def protected(control: Control, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Protected:
    """A file server that has a file which an attacker knows, too."""
    monkeypatch.setenv("BACKSTAY_STATE", str(tmp_path / "state"))
    made = Protected.new(control, tmp_path)
    made.write("figures", CONTENT)
    return made


def _repository(control: Control) -> Repository:
    return control.repositories.get(repository_id_of(control))


def store_pack(
    control: Control, thief: int, blobs: Sequence[tuple[bytes, BlobKind, bytes, bytes]], *, lie: bytes = b""
) -> str:
    """Store and index a pack as a thief of file server `thief`'s credential could.

    Args:
        blobs: for each its id, kind, content and references.
    """
    repository = _repository(control)
    secrets = repository.secrets
    key = FrameKey.new(secrets.public_key, secrets.repository_id)
    raw = b"".join(content for _, _, content, _ in blobs)
    sealed = key.seal_frame(0, compress(raw))
    trailer = Trailer(bytes(16), [key.sealed])
    trailer.frames.append(FrameRecord(len(HEAD), len(sealed), len(raw), 0, 0))
    offset = 0
    for blob_id, kind, content, references in blobs:
        trailer.add(blob_id, kind, 0, offset, len(content), references)
        offset += len(content)
    pack = b"".join((HEAD, sealed, trailer.encode(secrets.catalogue_key)))
    digest = blake3(pack).digest()
    with control.database.begin() as db:
        row = PackRow(
            repository_id=repository_id_of(control),
            digest=digest.hex(),
            file_server_id=thief,
            session=bytes(16).hex(),
            size=len(pack),
            indexed=True,
            stored_at=control.clock(),
        )
        db.add(row)
    repository.storage.put(pack_name(digest), [pack])
    builder = RunBuilder()
    builder.add_pack(digest, len(pack), trailer)
    put_run(repository.storage, secrets.catalogue_key, builder.encode())
    return digest.hex()


def _may_rely(control: Control, blob_id: bytes, file_server_id: int) -> bool:
    """Whether a backup of this file server that begins now may rely on the blob."""
    stored = StoredBlobs(control, repository_id_of(control))
    return stored.stored([blob_id], Asker(file_server_id, 1, 1)) == b"\1"


def _thief(control: Control) -> int:
    with control.database.begin() as db:
        row = FileServer(name="thief", created_at=control.clock())
        db.add(row)
        db.flush()
        return row.id


def _pack(control: Control, digest: str) -> PackRow:
    with control.database.read() as db:
        return db.get_one(PackRow, (repository_id_of(control), digest))


def test_a_poisoned_blob_counts_for_nobody_else_and_is_condemned(
    control: Control, protected: Protected
) -> None:
    """Something else under the id of a known file: never relied on by others, found, condemned, healed."""
    thief = _thief(control)
    blob_id = _repository(control).blob_id(CONTENT)
    digest = store_pack(control, thief, [(blob_id, BlobKind.DATA, b"x" * len(CONTENT), b"")])
    assert _may_rely(control, blob_id, thief)
    assert not _may_rely(control, blob_id, thief + 1)
    assert pack_checks.check_new(control) == 1
    assert _pack(control, digest).damaged
    assert _pack(control, digest).checked_at is None
    assert not _may_rely(control, blob_id, thief)
    stones = read_tombstones(_repository(control).storage, _repository(control).secrets.catalogue_key)
    assert [stone.tombstone.reason for stone in stones] == [DAMAGED]
    with control.database.read() as db:
        entry = db.scalars(select(AuditEntry).where(AuditEntry.action == "pack.condemn")).one()
    assert entry.after == {"why": "1 blobs in it are not what their ids say", "stored_by": "thief"}
    protected.back_up()
    assert run_verify(_repository(control), data_percent=100).points == []


def test_a_page_that_hides_what_it_refers_to_is_condemned(control: Control, protected: Protected) -> None:
    """A true page with false references would have another's files collected: it is found out."""
    thief = _thief(control)
    protected.back_up()
    repository = _repository(control)
    root = repository.points()[0].manifest.root
    page = repository.reader().read(root)
    digest = store_pack(control, thief, [(root, BlobKind.PAGE, page, b"")])
    pack_checks.check_new(control)
    assert _pack(control, digest).damaged
    with control.database.read() as db:
        others = db.scalars(select(PackRow).where(PackRow.digest != digest)).all()
    assert others
    assert all(row.checked_at is not None and not row.damaged for row in others)


def test_sound_packs_are_checked_once_and_then_count_for_all(control: Control, protected: Protected) -> None:
    """After the check another file server may rely on the blobs; there is nothing left to check."""
    protected.back_up()
    blob_id = _repository(control).blob_id(CONTENT)
    assert not _may_rely(control, blob_id, 999)
    assert pack_checks.check_new(control) > 0
    assert _may_rely(control, blob_id, 999)
    assert pack_checks.check_new(control) == 0


def test_a_pack_that_the_database_does_not_know_counts_for_nobody(
    control: Control, protected: Protected
) -> None:
    """Put into the repository behind the server's back: relied on when it was taken in and checked."""
    thief, blob_id = _thief(control), _repository(control).blob_id(CONTENT)
    digest = store_pack(control, thief, [(blob_id, BlobKind.DATA, CONTENT, b"")])
    with control.database.begin() as db:
        db.delete(db.get_one(PackRow, (repository_id_of(control), digest)))
    assert not _may_rely(control, blob_id, thief)
    assert not _may_rely(control, blob_id, thief + 1)
    assert reconcile.reconcile_packs(control, repository_id_of(control), settled=timedelta(0)).new == 1
    assert not _may_rely(control, blob_id, thief + 1)
    pack_checks.check_new(control)
    assert _may_rely(control, blob_id, thief + 1)


def test_a_signed_request_that_is_still_open_puts_the_check_off(
    control: Control, protected: Protected, clock: MovableClock
) -> None:
    """What a presigned put may still change is not checked before the request has expired."""
    protected.back_up()
    later = clock().replace(hour=clock().hour + 1)
    with control.database.begin() as db:
        for row in db.scalars(select(PackRow)):
            row.presigned_until = later
    assert pack_checks.check_new(control) == 0
    clock.forward(hours=2)
    assert pack_checks.check_new(control) > 0


def test_checks_give_way_to_backups_for_a_while(
    control: Control, protected: Protected, clock: MovableClock
) -> None:
    """While a backup runs, packs are left unchecked for half a minute, and no longer; else they are not."""
    protected.back_up()
    with control.database.begin() as db:
        job = db.scalars(select(JobRow).where(JobRow.kind == "backup")).first()
        assert job is not None
        ended, job.state = job.state, "running"
    assert pack_checks.check_when_quiet(control) == 0
    clock.forward(minutes=1)
    assert pack_checks.check_when_quiet(control) > 0
    with control.database.begin() as db:
        db.get_one(JobRow, job.id).state = ended
        for row in db.scalars(select(PackRow)):
            row.checked_at, row.stored_at = None, clock()
    assert pack_checks.check_when_quiet(control) > 0


def test_a_verify_names_what_damage_touches_until_it_is_healed(
    control: Control, client: TestClient, protected: Protected, clock: MovableClock
) -> None:
    """A flipped bit: the job fails, names the file and the point, marks both; a new backup heals it."""
    point = protected.back_up()
    pack_checks.check_new(control)
    clock.forward(hours=2)
    base = f"/api/v1/repositories/{repository_id_of(control)}"
    sound = run_job(control, client.post(f"{base}/verify", json={}).json()["job"])
    assert (sound.state, sound.reason) == ("succeeded", "")
    assert point_row(control, point).verified_at == clock()
    data = max(
        (path for path in Path(location_of(control), PACKS).rglob("*") if path.is_file()),
        key=lambda path: path.stat().st_size,
    )
    flipped = bytearray(data.read_bytes())
    flipped[20] ^= 1
    data.chmod(0o600)
    data.write_bytes(flipped)
    job = run_job(control, client.post(f"{base}/verify", json={"data_percent": 100}).json()["job"])
    assert job.state == "failed"
    assert job.reason.startswith("damage was found")
    assert point_row(control, point).damaged
    assert _pack(control, data.name).damaged
    with control.database.read() as db:
        named = [one.path for one in db.scalars(select(JobProblem).where(JobProblem.job_id == job.id))]
    assert [Path(path.decode()).name for path in named] == ["figures"]
    protected.write("figures", CONTENT + b"changed")
    protected.write("figures-again", CONTENT)
    newer = protected.back_up()
    healed = run_job(control, client.post(f"{base}/verify", json={"data_percent": 100}).json()["job"])
    assert healed.state == "failed", "the broken pack is still there"
    assert not point_row(control, newer).damaged
    assert not point_row(control, point).damaged, "what the new backup stored anew heals the old point, too"


def test_a_manifest_that_vanished_is_damage_although_no_later_one_misses_it(
    control: Control, client: TestClient, protected: Protected, clock: MovableClock
) -> None:
    """The catalogue knows of a point that the repository has lost: verify says so."""
    point = protected.back_up()
    clock.forward(hours=2)
    open_storage(location_of(control)).delete(f"manifests/{point}")
    base = f"/api/v1/repositories/{repository_id_of(control)}"
    job = run_job(control, client.post(f"{base}/verify", json={"data_percent": 0}).json()["job"])
    assert job.state == "failed"
    assert job.figures["points"] == [point]
    assert point_row(control, point).damaged
