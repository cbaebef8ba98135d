"""The catalogue: every committed restore point, as the server stamped it."""

from datetime import UTC, datetime

import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

from backstay.domain.errors import DamagedObject, NotFound, ObjectNotFound
from backstay.repository.layout import MANIFESTS, object_name
from backstay.repository.manifest import RestorePoint, decode_manifest
from backstay.server import audit
from backstay.server.access import SYSTEM
from backstay.server.control import Control
from backstay.server.tables import JobRow, RestorePointRow, WriterSession

_log = structlog.get_logger()


def sealed_manifest(control: Control, repository_id: str, point_id: str) -> bytes:
    """The manifest's object. Raises ObjectNotFound, StorageError."""
    storage = control.repositories.get(repository_id).storage
    return storage.get(object_name(MANIFESTS, bytes.fromhex(point_id)))


def enter(db: Session, point: RestorePoint, writer: WriterSession, now: datetime) -> RestorePointRow:
    """Seal a restore point that an agent committed just now; doing it again changes nothing."""
    row = db.get(RestorePointRow, point.id.hex())
    if row is not None:
        return row
    job = db.get_one(JobRow, writer.job_id)
    assert job.backup_set_id is not None
    manifest, totals = point.manifest, point.manifest.totals
    row = RestorePointRow(
        id=point.id.hex(),
        repository_id=writer.repository_id,
        file_server_id=writer.file_server_id,
        backup_set_id=job.backup_set_id,
        job_id=job.id,
        sequence=manifest.sequence,
        type=manifest.type,
        committed_at=now,
        manifest_time=datetime.fromtimestamp(manifest.time_ns / 1e9, UTC),
        files=totals.files,
        folders=totals.directories,
        bytes=totals.bytes,
        read_bytes=manifest.read_bytes,
        new_bytes=manifest.new_bytes,
        stored_bytes=manifest.stored_bytes,
        problems=manifest.problems,
    )
    db.add(row)
    job.restore_point_id = row.id
    db.flush()
    return row


def latest_of_set(db: Session, job_id: int) -> RestorePointRow | None:
    """The latest restore point of the set that a job backs up, in the job's repository."""
    return db.scalars(
        select(RestorePointRow)
        .join(JobRow, JobRow.backup_set_id == RestorePointRow.backup_set_id)
        .where(
            JobRow.id == job_id,
            RestorePointRow.repository_id == JobRow.repository_id,
            RestorePointRow.expired_at.is_(None),
        )
        .order_by(RestorePointRow.sequence.desc(), RestorePointRow.committed_at.desc())
        .limit(1)
    ).first()


def look_at_manifest(control: Control, repository_id: str, point_id: str) -> None:
    """Mark a restore point as damaged where its manifest is lost or cannot be read. Raises StorageError."""
    name = object_name(MANIFESTS, bytes.fromhex(point_id))
    repository = control.repositories.get(repository_id)
    try:
        decode_manifest(repository.storage.get(name), repository.secrets.catalogue_key, name)
    except (ObjectNotFound, DamagedObject) as error:
        with control.database.begin() as db:
            row = db.get_one(RestorePointRow, point_id)
            # Prune may have taken it out just now.
            if row.damaged or row.expired_at is not None:
                return
            row.damaged = True
            after = {"why": error.what}
            audit.record(db, SYSTEM, "restore_point.damaged", point_id, now=control.clock(), after=after)
        _log.error("manifest lost", restore_point=point_id, why=error.what)


def get_restore_point(db: Session, point_id: str) -> RestorePointRow:
    """The restore point of this id, or of the only id that begins so. Raises NotFound."""
    row = db.get(RestorePointRow, point_id)
    if row is None and len(point_id) >= 4 and all(sign in "0123456789abcdef" for sign in point_id):
        rows = db.scalars(
            select(RestorePointRow).where(RestorePointRow.id.startswith(point_id)).limit(2)
        ).all()
        row = rows[0] if len(rows) == 1 else None
    if row is None or row.expired_at is not None:
        raise NotFound(
            f"there is no restore point {point_id}", hint="`backstay restore-points` lists those there are"
        )
    return row
