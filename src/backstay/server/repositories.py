"""The repositories that the server keeps: made at the first start, opened once, shared by all rooms."""

import os
import secrets
import threading
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from backstay.domain.errors import NotFound, RepositoryExists, ServerError, UsageError, WrongPassphrase
from backstay.repository.blob_source import BlobSource
from backstay.repository.credential import export_credential
from backstay.repository.layout import MANIFESTS
from backstay.repository.recovery_sheet import render_sheet
from backstay.repository.repository import Repository
from backstay.server.database import Database
from backstay.server.settings import ServerKey
from backstay.server.tables import RepositoryRow
from backstay.storage.registry import open_storage

PASSPHRASE = "passphrase of a repository"
SHEET = "recovery-sheet.txt"
_UNRECORDED = "repository.passphrase"


class Repositories:
    """Opens each repository once in this process. Safe to use from several threads."""

    def __init__(self, database: Database, key: ServerKey, folder: Path) -> None:
        self._database = database
        self._key = key
        self._folder = folder
        self._opened: dict[str, Repository] = {}
        self._sources: dict[str, tuple[BlobSource, set[str]]] = {}
        self._lock = threading.Lock()

    def get(self, repository_id: str) -> Repository:
        """The repository of this id.

        Raises:
            NotFound: the server keeps none of this id.
            StorageError, RepositoryError, ServerError.
        """
        with self._lock:
            opened = self._opened.get(repository_id)
            if opened is None:
                with self._database.read() as db:
                    row = db.get(RepositoryRow, repository_id)
                if row is None:
                    raise NotFound(
                        f"there is no repository {repository_id}", hint="GET /api/v1/repositories lists them"
                    )
                passphrase = self._key.open(row.sealed_passphrase, PASSPHRASE).decode()
                opened = Repository.open(open_storage(row.location), passphrase, cache=self._folder / "cache")
                self._opened[repository_id] = opened
            return opened

    def know(self, repository: Repository) -> None:
        """Use this opened repository wherever one of its id is asked for."""
        with self._lock:
            self._opened[repository.id.hex()] = repository

    def source(self, repository_id: str, point_id: str) -> BlobSource:
        """Reads the blobs of a restore point; shared by all who do, as is what it keeps in memory.

        Raises as `get`.
        """
        repository = self.get(repository_id)
        with self._lock:
            source, known = self._sources.get(repository_id, (None, set()))
            if source is not None and point_id in known:
                return source
        # The point may be younger than the index at hand.
        newer = BlobSource(repository)
        points = {info.name.rpartition("/")[2] for info in repository.storage.list(MANIFESTS)}
        with self._lock:
            self._sources[repository_id] = (newer, points | {point_id})
        return newer

    def credential(self, repository_id: str) -> str:
        """A write-only credential for agents, as text; it names no location."""
        return export_credential(self.get(repository_id).secrets, "").decode("ascii")

    def ensure_first(self, location: str, now: datetime, *, data_path: str = "gateway") -> Path | None:
        """Make the first repository where the server keeps none.

        Returns:
            Where the recovery key sheet was written, if it was made now.

        Raises:
            UsageError: packs cannot go straight to a storage that is not S3.
            RepositoryExists: there is one in that place that this database does not know.
            StorageError, ServerError.
        """
        with self._database.read() as db:
            if default_repository(db) is not None:
                return None
        if data_path == "direct" and not location.startswith("s3://"):
            raise UsageError(
                f"file servers cannot store packs straight in {location}",
                hint="leave --direct away, or give an s3:// location",
            )
        passphrase = self._first_passphrase()
        sheet: Path | None = self._folder / SHEET
        try:
            storage = open_storage(location, create=True)
            repository, recovery_key = Repository.create(storage, passphrase, cache=self._folder / "cache")
            text = render_sheet(repository.id, storage.location, now.timestamp(), recovery_key)
            write_private(self._folder / SHEET, text)
        except RepositoryExists:
            # As an earlier start left it, when it died before the database knew of it.
            repository, sheet = self._adopt(location, passphrase), None
        row = RepositoryRow(
            id=repository.id.hex(),
            name="default",
            location=location,
            data_path=data_path,
            sealed_passphrase=self._key.seal(passphrase.encode(), PASSPHRASE),
            created_at=now,
        )
        with suppress(IntegrityError), self._database.begin() as db:
            db.add(row)
        (self._folder / _UNRECORDED).unlink(missing_ok=True)
        self._opened[row.id] = repository
        return sheet

    def _first_passphrase(self) -> str:
        """Kept in a file until the database has it: a repository that nobody can open must never be made."""
        path = self._folder / _UNRECORDED
        if not path.exists():
            write_private(path, secrets.token_urlsafe(32))
        return path.read_text()

    def _adopt(self, location: str, passphrase: str) -> Repository:
        try:
            return Repository.open(open_storage(location), passphrase, cache=self._folder / "cache")
        except WrongPassphrase:
            raise RepositoryExists(
                f"there is a repository in {location} that this server's database does not know",
                hint="name another place with --storage, or adopt it: see docs/operations.md",
            ) from None


def default_repository(db: Session) -> RepositoryRow | None:
    """The repository that new backup sets use: the first that was made."""
    return db.scalars(select(RepositoryRow).order_by(RepositoryRow.created_at).limit(1)).first()


def write_private(path: Path, text: str) -> None:
    """Write a file that its owner alone may read. Raises ServerError."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise ServerError(
            f"{path} cannot be written: {error.strerror}", hint="check the folder's owner and its room"
        ) from error
