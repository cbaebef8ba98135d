"""Makes the database agree with what the repository really has: packs and restore points.

The repository is right about what is there; the database is right about what was allowed to be. Neither is
read at one instant while agents write, so what is younger than `SETTLED` is left alone: an agent's
upload is in the storage before its row is, or the other way round.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import structlog
from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from backstay.domain.errors import BackstayError, DamagedObject, ObjectNotFound
from backstay.repository.details import read_details
from backstay.repository.layout import PACKS, digest_of, pack_name
from backstay.repository.manifest import RestorePoint
from backstay.repository.pack import read_trailer
from backstay.repository.repository import Repository
from backstay.server import audit, catalogue
from backstay.server.access import SYSTEM, Actor
from backstay.server.control import Control
from backstay.server.tables import (
    BackupSetRow,
    FileServer,
    PackRow,
    RepositoryRow,
    RestorePointRow,
    UtcDateTime,
    WriterSession,
)
from backstay.server.upkeep_schedule import claim

SETTLED = timedelta(hours=1)
"""What is younger may be under way."""

TASK = "reconcile"
EVERY = timedelta(hours=6)

_BATCH = 500
_BEAT_EVERY = 5000
_log = structlog.get_logger()


@dataclass(frozen=True)
class PacksFound:
    """What differed: rows whose packs are gone, packs that had no row."""

    gone: int = 0
    new: int = 0


def reconcile_packs(
    control: Control,
    repository_id: str,
    *,
    settled: timedelta = SETTLED,
    trusted: bool = False,
    beat: Callable[[], object] = lambda: None,
) -> PacksFound:
    """Forget packs that are gone, and take in those that nobody knows; these are then checked like any.

    Args:
        settled: packs without a row that are younger are left alone; rows without a pack always for SETTLED.
        trusted: somebody vouches for the packs that are taken in: they count without being checked.
        beat: called now and then while it goes on.

    Raises:
        StorageError.
    """
    repository = control.repositories.get(repository_id)
    with control.database.read() as db:
        known = db.execute(
            select(
                PackRow.digest, func.coalesce(PackRow.presigned_until, PackRow.stored_at, type_=UtcDateTime())
            ).where(PackRow.repository_id == repository_id)
        )
        stored_at = dict(known.all())
    now = control.clock()
    unknown: dict[str, tuple[int, datetime]] = {}
    found: set[str] = set()
    for number, info in enumerate(repository.storage.list(PACKS), 1):
        if number % _BEAT_EVERY == 0:
            beat()
        digest = digest_of(info.name)
        if digest is None:
            continue
        found.add(digest.hex())
        modified = datetime.fromtimestamp(info.modified, UTC)
        if digest.hex() not in stored_at and _is_settled(modified, now, settled):
            unknown[digest.hex()] = (info.size, min(modified, now))
    gone = [digest for digest, at in stored_at.items() if digest not in found and now - at >= SETTLED]
    for batch in _batches(gone):
        with control.database.begin() as db:
            db.execute(
                delete(PackRow).where(PackRow.repository_id == repository_id, PackRow.digest.in_(batch))
            )
        beat()
    new = 0
    for batch in _batches(list(unknown)):
        rows = [
            PackRow(
                repository_id=repository_id,
                digest=digest,
                session=_session_of(repository, digest),
                size=unknown[digest][0],
                indexed=True,
                stored_at=unknown[digest][1],
                checked_at=now if trusted else None,
            )
            for digest in batch
        ]
        with control.database.begin() as db:
            new += _add_missing(db, rows)
        beat()
    return PacksFound(len(gone), new)


def add_pack(db: Session, repository_id: str, digest: str, size: int, now: datetime) -> None:
    """Know a pack that the server itself is about to store; it counts for nobody until it is checked."""
    if db.get(PackRow, (repository_id, digest)) is None:
        db.add(PackRow(repository_id=repository_id, digest=digest, session="", size=size, stored_at=now))
        db.flush()


def _is_settled(at: datetime, now: datetime, settled: timedelta) -> bool:
    # With nothing to wait for, what was made by a clock that is ahead counts as well.
    return not settled or now - at >= settled


def _batches(digests: list[str]) -> Iterator[list[str]]:
    for at in range(0, len(digests), _BATCH):
        yield digests[at : at + _BATCH]


def _session_of(repository: Repository, digest: str) -> str:
    try:
        name = pack_name(bytes.fromhex(digest))
        return read_trailer(repository.storage, name, repository.secrets.catalogue_key).session.hex()
    except (DamagedObject, ObjectNotFound):
        return ""


def _add_missing(db: Session, rows: list[PackRow]) -> int:
    """Add those that nobody added meanwhile. A pack belongs to whom its writing session belongs to."""
    added = 0
    for row in rows:
        if db.get(PackRow, (row.repository_id, row.digest)) is None:
            writer = db.get(WriterSession, row.session) if row.session else None
            row.file_server_id = writer.file_server_id if writer is not None else None
            db.add(row)
            added += 1
    return added


@dataclass
class PointsFound:
    """What the catalogue lacked: names of the file servers and sets that were made for it, and points."""

    file_servers: list[str] = field(default_factory=list)
    backup_sets: list[str] = field(default_factory=list)
    restore_points: list[str] = field(default_factory=list)


def adopt_points(
    control: Control, actor: Actor, repository_id: str, *, settled: timedelta = SETTLED
) -> PointsFound:
    """Take restore points that the repository has into the catalogue, under file servers and sets by name.

    What has to be made for them is made: a file server without an agent, and a set that is switched off,
    with the paths that were backed up. Adopting again changes nothing.

    Args:
        settled: points that are younger, by their manifest, are left to whoever commits them.

    Raises:
        StorageError, RepositoryError.
    """
    repository = control.repositories.get(repository_id)
    points = repository.points()
    with control.database.read() as db:
        known = set(
            db.scalars(select(RestorePointRow.id).where(RestorePointRow.repository_id == repository_id))
        )
    now = control.clock()
    missing = [
        point for point in points if point.id.hex() not in known and _is_settled(_time(point), now, settled)
    ]
    return _adopt(control, actor, repository_id, missing)


def _time(point: RestorePoint) -> datetime:
    return datetime.fromtimestamp(point.manifest.time_ns / 1e9, UTC)


def _adopt(control: Control, actor: Actor, repository_id: str, points: Sequence[RestorePoint]) -> PointsFound:
    found = PointsFound()
    repository = control.repositories.get(repository_id)
    newest = {(point.manifest.file_server, point.manifest.backup_set): point for point in points}
    paths = {place: _paths_of(repository, point) for place, point in newest.items()}
    now = control.clock()
    for at in range(0, len(points), _BATCH):
        with control.database.begin() as db:
            for point in points[at : at + _BATCH]:
                _adopt_one(db, repository_id, point, paths, found, now)
    if found.restore_points:
        with control.database.begin() as db:
            after = {
                "file_servers": found.file_servers,
                "backup_sets": found.backup_sets,
                "restore_points": len(found.restore_points),
            }
            audit.record(db, actor, "repository.adopt", repository_id, now=now, after=after)
    return found


def _paths_of(repository: Repository, point: RestorePoint) -> list[str]:
    """The paths that were asked for; `/` where nobody can read them any more."""
    try:
        details = read_details(point.manifest.details, repository.reader().read)
    except BackstayError:
        return ["/"]
    return [path.decode("utf-8", "surrogateescape") for path in details.paths]


def _adopt_one(
    db: Session,
    repository_id: str,
    point: RestorePoint,
    paths: dict[tuple[str, str], list[str]],
    found: PointsFound,
    now: datetime,
) -> None:
    if db.get(RestorePointRow, point.id.hex()) is not None:
        return
    manifest = point.manifest
    writer = db.get(WriterSession, manifest.session.hex())
    if writer is not None:
        # The server died between the manifest and the catalogue: it is sealed as it would have been.
        catalogue.enter(db, point, writer, now)
        found.restore_points.append(point.id.hex())
        return
    server = db.scalars(select(FileServer).where(FileServer.name == manifest.file_server)).first()
    if server is None:
        server = FileServer(name=manifest.file_server, created_at=now)
        db.add(server)
        db.flush()
        found.file_servers.append(server.name)
    backup_set = db.scalars(
        select(BackupSetRow).where(
            BackupSetRow.file_server_id == server.id, BackupSetRow.name == manifest.backup_set
        )
    ).first()
    if backup_set is None:
        backup_set = BackupSetRow(
            file_server_id=server.id,
            repository_id=repository_id,
            name=manifest.backup_set,
            paths=paths[manifest.file_server, manifest.backup_set],
            enabled=False,
            created_at=now,
            updated_at=now,
        )
        db.add(backup_set)
        db.flush()
        found.backup_sets.append(f"{server.name}/{backup_set.name}")
    db.add(
        RestorePointRow(
            id=point.id.hex(),
            repository_id=repository_id,
            file_server_id=server.id,
            backup_set_id=backup_set.id,
            sequence=manifest.sequence,
            type=manifest.type,
            committed_at=min(_time(point), now),
            manifest_time=_time(point),
            files=manifest.totals.files,
            folders=manifest.totals.directories,
            bytes=manifest.totals.bytes,
            read_bytes=manifest.read_bytes,
            new_bytes=manifest.new_bytes,
            stored_bytes=manifest.stored_bytes,
            problems=manifest.problems,
        )
    )
    found.restore_points.append(point.id.hex())


def look(control: Control) -> int:
    """Reconcile each repository for which it is time; a chore. Returns how many."""
    with control.database.read() as db:
        repositories = list(db.scalars(select(RepositoryRow.id)))
    return sum(_look_at(control, repository_id) for repository_id in repositories)


def _look_at(control: Control, repository_id: str) -> bool:
    now = control.clock()
    with control.database.begin() as db:
        task = claim(db, repository_id, TASK, now, lambda: now)
        if task is None or task.due_at > now:
            return False
        task.due_at = now + EVERY
    try:
        packs = reconcile_packs(control, repository_id)
        points = adopt_points(control, SYSTEM, repository_id)
    except BackstayError as error:
        # One storage that does not answer must not keep the others from being looked at.
        _log.warning("not reconciled", repository=repository_id, what=error.what)
        return False
    if packs != PacksFound() or points.restore_points:
        _log.info(
            "reconciled",
            repository=repository_id,
            packs_forgotten=packs.gone,
            packs_found=packs.new,
            points_found=len(points.restore_points),
        )
    return True
