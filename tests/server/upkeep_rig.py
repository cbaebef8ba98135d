"""Real backups into a server's repository, with the rows that the server writes for an agent's backup."""

import os
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.orm import Session

from backstay.backup.progress import Silent
from backstay.backup.workflow import BackupRequest, run_backup
from backstay.domain.job import JobKind, JobState
from backstay.repository.keys import load_credential
from backstay.repository.layout import PACKS, digest_of
from backstay.repository.manifest import RestorePoint
from backstay.repository.repository import Repository
from backstay.server import catalogue, job_queue, server_jobs
from backstay.server.control import Control
from backstay.server.repositories import default_repository
from backstay.server.tables import (
    BackupSetRow,
    FileServer,
    JobRow,
    PackRow,
    RestorePointRow,
    WriterSession,
)
from backstay.storage.registry import open_storage


def repository_id_of(control: Control) -> str:
    """The server's only repository."""
    with control.database.read() as db:
        row = default_repository(db)
        assert row is not None
        return row.id


def location_of(control: Control) -> str:
    """Where it lies."""
    return control.settings.storage_location


@dataclass
class Protected:
    """A file server with one set, backed up as its agent would."""

    control: Control
    source: Path
    name: str
    set_id: int

    @classmethod
    def new(cls, control: Control, folder: Path, name: str = "fs1") -> "Protected":
        """A file server with an empty source."""
        source = folder / f"source-{name}"
        source.mkdir(parents=True)
        now = control.clock()
        with control.database.begin() as db:
            server = FileServer(name=name, created_at=now)
            db.add(server)
            db.flush()
            row = BackupSetRow(
                file_server_id=server.id,
                repository_id=repository_id_of(control),
                name=f"{name}-data",
                paths=[str(source)],
                created_at=now,
                updated_at=now,
            )
            db.add(row)
            db.flush()
            return cls(control, source, name, row.id)

    def write(self, name: str, content: bytes) -> None:
        """Put a file into the source."""
        path = self.source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    def back_up(self, *, enter: bool = True) -> str:
        """Back up with a write-only credential; the id of the restore point, which is sealed as of now.

        Args:
            enter: whether the server lives long enough to enter it into the catalogue.
        """
        control, repository_id = self.control, repository_id_of(self.control)
        secrets, _ = load_credential(control.repositories.credential(repository_id).encode(), "credential")
        storage = open_storage(location_of(control))
        repository = Repository.open_with(storage, secrets, cache=self.source.parent / f"cache-{self.name}")
        request = BackupRequest([os.fsencode(self.source)], f"{self.name}-data", file_server=self.name)
        point = run_backup(repository, request, Silent()).point
        if enter:
            with control.database.begin() as db:
                self._enter(point, db)
        return point.id.hex()

    def _enter(self, point: RestorePoint, db: Session) -> None:
        now, repository_id = self.control.clock(), repository_id_of(self.control)
        backup_set = db.get_one(BackupSetRow, self.set_id)
        job = JobRow(
            kind=JobKind.BACKUP.value,
            state=JobState.SUCCEEDED.value,
            trigger="administrator",
            file_server_id=backup_set.file_server_id,
            backup_set_id=self.set_id,
            repository_id=repository_id,
            created_at=now,
        )
        db.add(job)
        db.flush()
        writer = WriterSession(
            id=point.manifest.session.hex(),
            repository_id=repository_id,
            file_server_id=backup_set.file_server_id,
            job_id=job.id,
            began_at=now,
        )
        db.add(writer)
        catalogue.enter(db, point, writer, now)
        for info in self.control.repositories.get(repository_id).storage.list(PACKS):
            digest = digest_of(info.name)
            assert digest is not None
            if db.get(PackRow, (repository_id, digest.hex())) is None:
                row = PackRow(
                    repository_id=repository_id,
                    digest=digest.hex(),
                    file_server_id=backup_set.file_server_id,
                    session=writer.id,
                    size=info.size,
                    indexed=True,
                    stored_at=now,
                )
                db.add(row)


def run_job(control: Control, job_id: int) -> JobRow:
    """Have this server run what waits, and return the job as it ended."""
    while server_jobs.run_next(control):
        pass
    with control.database.read() as db:
        return job_queue.get_job(db, job_id)


def point_row(control: Control, point_id: str) -> RestorePointRow:
    """The catalogue's row."""
    with control.database.read() as db:
        return db.get_one(RestorePointRow, point_id)


def points_in_repository(control: Control) -> set[str]:
    """Ids of the points that the repository really has."""
    repository = control.repositories.get(repository_id_of(control))
    return {point.id.hex() for point in repository.points()}
