"""Takes in what agents store: each object is what it claims to be, and of who brings it, or is refused.

packs/…        the name is the BLAKE3 of the bytes; the trailer opens, and names a session of this server
index/…        says exactly what the trailers of its packs say, and names own packs only
sessions/…     of this file server; the first marker ties the session to the job
manifests/…    of this file server and set, of its own session, at the server's time
"""

import re
import threading
from collections import OrderedDict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from backstay.domain.errors import DamagedObject, Forbidden, ObjectNotFound
from backstay.repository.encryption import unseal
from backstay.repository.index import MAGIC, RunBuilder, check_run, packs_of
from backstay.repository.layout import INDEX, MANIFESTS, SESSIONS, object_name, pack_name
from backstay.repository.manifest import Manifest, decode_manifest
from backstay.repository.pack import FOOTER_LENGTH, Trailer, read_trailer, trailer_of
from backstay.repository.session import decode_session
from backstay.server import catalogue, job_queue
from backstay.server.control import Control
from backstay.server.grants import Grant, refused
from backstay.server.tables import PackRow, RestorePointRow, WriterSession
from backstay.storage.interface import Buffer

_MARKER = re.compile(r"sessions/([0-9a-f]{32})/(begin|end|renewed-[1-9][0-9]{0,8})")
_CLOCK_SLACK = timedelta(minutes=10)
_TRAILERS_KEPT = 128
_LARGEST = 1 << 60
BACKUP = "backup"


class Intake:
    """Checks and stores objects from agents. Safe to use from several threads."""

    def __init__(self, control: Control) -> None:
        self._control = control
        self._lock = threading.Lock()
        self._trailers: OrderedDict[bytes, Trailer] = OrderedDict()

    def put(self, grant: Grant, name: str, parts: Sequence[Buffer], digest: bytes) -> None:
        """Store an object durably.

        Args:
            digest: BLAKE3 of its bytes.

        Raises:
            Forbidden: the grant does not give that, or the object is not what it claims to be.
            DamagedObject: it is not what its name says.
            ObjectExists, StorageError.
        """
        if grant.reads:
            raise refused(f"{name} was to be stored by a restore")
        folder = name.partition("/")[0]
        if folder == "sessions":
            self._put_marker(grant, name, b"".join(parts))
            return
        names = {
            "packs": pack_name(digest),
            "index": object_name(INDEX, digest),
            "manifests": object_name(MANIFESTS, digest),
        }
        if folder not in names:
            raise refused(f"{name} was to be stored")
        if name != names[folder]:
            raise DamagedObject(name, "its bytes are not what its name says")
        if folder == "packs":
            self._put_pack(grant, name, parts, digest)
        elif folder == "index":
            self._put_run(grant, name, b"".join(parts))
        else:
            self._put_manifest(grant, name, b"".join(parts))

    def _put_pack(self, grant: Grant, name: str, parts: Sequence[Buffer], digest: bytes) -> None:
        repository = self._control.repositories.get(grant.repository_id)
        tail, size = _tail(parts)
        trailer = trailer_of(tail, repository.secrets.catalogue_key, name, size)
        with self._control.database.read() as db:
            require_own_session(db, grant, trailer.session.hex())
        row = PackRow(
            repository_id=grant.repository_id,
            digest=digest.hex(),
            file_server_id=grant.file_server_id,
            session=trailer.session.hex(),
            size=size,
            stored_at=self._control.clock(),
        )
        # Before it is there: a pack without a row is nobody's, and its own file server would send it again.
        with self._control.database.begin() as db:
            if db.get(PackRow, (grant.repository_id, row.digest)) is None:
                db.add(row)
        repository.storage.put(name, parts)
        repository.storage.sync()
        self._remember(digest, trailer)

    def _put_run(self, grant: Grant, name: str, sealed: bytes) -> None:
        repository = self._control.repositories.get(grant.repository_id)
        key = repository.secrets.catalogue_key
        encoded = unseal(key, MAGIC, sealed, name)
        check_run(encoded, name)
        builder = RunBuilder()
        packs = packs_of(encoded)
        with self._control.database.read() as db:
            owned = _owned(db, grant, [pack.digest.hex() for pack in packs])
        for pack in packs:
            if pack.digest.hex() not in owned:
                raise Forbidden(
                    f"{name} names the pack {pack.digest.hex()[:16]}, which this file server did not store",
                    hint="an agent indexes what it stored itself",
                )
            builder.add_pack(pack.digest, pack.size, self._trailer(grant, pack.digest))
        if builder.encode() != encoded:
            raise DamagedObject(name, "it does not say what the trailers of its packs say")
        repository.storage.put(name, [sealed])
        repository.storage.sync()
        with self._control.database.begin() as db:
            for at in range(0, len(packs), 500):
                digests = [pack.digest.hex() for pack in packs[at : at + 500]]
                db.execute(
                    update(PackRow)
                    .where(PackRow.repository_id == grant.repository_id, PackRow.digest.in_(digests))
                    .values(indexed=True)
                )

    def _put_marker(self, grant: Grant, name: str, data: bytes) -> None:
        match = _MARKER.fullmatch(name)
        if match is None or len(data) > 4096:
            raise refused(f"{name} was to be stored")
        repository = self._control.repositories.get(grant.repository_id)
        session, what = match[1], match[2]
        now = self._control.clock()
        if what == "begin":
            info = decode_session(data, repository.secrets.catalogue_key, name)
            if info.id.hex() != session or info.kind != BACKUP:
                raise refused(f"{name} was to register a session of the kind {info.kind!r}")
            with self._control.database.begin() as db:
                if db.get(WriterSession, session) is None:
                    db.add(
                        WriterSession(
                            id=session,
                            repository_id=grant.repository_id,
                            file_server_id=grant.file_server_id,
                            job_id=grant.job_id,
                            began_at=now,
                        )
                    )
                require_own_session(db, grant, session)
        else:
            with self._control.database.read() as db:
                require_own_session(db, grant, session)
        repository.storage.put(name, [data])
        repository.storage.sync()
        if what == "end":
            with self._control.database.begin() as db:
                row = require_own_session(db, grant, session)
                row.ended_at = row.ended_at or now

    def _put_manifest(self, grant: Grant, name: str, sealed: bytes) -> None:
        repository = self._control.repositories.get(grant.repository_id)
        point = decode_manifest(sealed, repository.secrets.catalogue_key, name)
        manifest, now = point.manifest, self._control.clock()
        stamped = datetime.fromtimestamp(manifest.time_ns / 1e9, UTC)
        wrong = None
        if (manifest.file_server, manifest.backup_set) != (grant.file_server, grant.backup_set):
            wrong = f"is of {manifest.file_server}/{manifest.backup_set}"
        elif abs(stamped - now) > _CLOCK_SLACK:
            wrong = f"bears the time {stamped:%Y-%m-%d %H:%M} UTC, which is not the server's"
        elif manifest.repository.hex() != grant.repository_id:
            wrong = "is of another repository"
        elif manifest.type not in {"full", "incremental"} or max(_numbers(manifest)) > _LARGEST:
            wrong = "says of itself what cannot be"
        if wrong is not None:
            raise Forbidden(
                f"the restore point {wrong}", hint="an agent commits restore points of its own job alone"
            )
        if repository.storage.exists(f"{SESSIONS}{manifest.session.hex()}/end"):
            raise Forbidden(
                "the restore point's session has ended, and what it refers to may have been collected",
                hint="run the backup again; what is still there is not sent again",
            )
        # In one transaction, with the job locked: who has lost it commits nothing, however late it comes.
        with self._control.database.begin() as db:
            job_queue.held_job(db, grant.job_id, grant.epoch, grant.instance, grant.file_server_id)
            writer = require_own_session(db, grant, manifest.session.hex())
            if writer.job_id != grant.job_id:
                raise refused(f"{name} is of an earlier job's session")
            latest = catalogue.latest_of_set(db, grant.job_id)
            if latest is None or latest.id != point.id.hex():
                _require_next(manifest, latest)
            repository.storage.put(name, [sealed])
            repository.storage.sync()
            catalogue.enter(db, point, writer, now)

    def _remember(self, digest: bytes, trailer: Trailer) -> None:
        with self._lock:
            self._trailers[digest] = trailer
            while len(self._trailers) > _TRAILERS_KEPT:
                self._trailers.popitem(last=False)

    def _trailer(self, grant: Grant, digest: bytes) -> Trailer:
        with self._lock:
            trailer = self._trailers.get(digest)
        if trailer is None:
            repository = self._control.repositories.get(grant.repository_id)
            try:
                trailer = read_trailer(
                    repository.storage, pack_name(digest), repository.secrets.catalogue_key
                )
            except ObjectNotFound as error:
                raise DamagedObject(error.name, "it is named by an index run, and is not there") from error
        return trailer


def _numbers(manifest: Manifest) -> tuple[int, ...]:
    done = (manifest.read_bytes, manifest.new_bytes, manifest.stored_bytes)
    return (*manifest.totals, *done, manifest.problems, manifest.sequence)


def _require_next(manifest: Manifest, latest: RestorePointRow | None) -> None:
    """Raises Forbidden where the manifest is not the next in the chain of its set."""
    if manifest.previous.hex() != (latest.id if latest else ""):
        raise Forbidden(
            "the restore point does not follow the latest one of its set",
            hint="another backup of the set was committed meanwhile; run this one again",
        )
    if manifest.sequence != (latest.sequence + 1 if latest else 1):
        raise Forbidden(
            f"the restore point has the number {manifest.sequence}, which is not the next of its set",
            hint="run the backup again",
        )


def require_own_session(db: Session, grant: Grant, session: str) -> WriterSession:
    """The writing session, which must be one of the grant's file server. Raises Forbidden."""
    row = db.get(WriterSession, session)
    if row is None or row.file_server_id != grant.file_server_id or row.repository_id != grant.repository_id:
        raise refused(f"the session {session[:8]} is not one of this file server")
    return row


def _owned(db: Session, grant: Grant, digests: list[str]) -> set[str]:
    found: set[str] = set()
    for at in range(0, len(digests), 500):
        found |= set(
            db.scalars(
                select(PackRow.digest).where(
                    PackRow.repository_id == grant.repository_id,
                    PackRow.file_server_id == grant.file_server_id,
                    PackRow.session != "",
                    PackRow.digest.in_(digests[at : at + 500]),
                )
            )
        )
    return found


def _tail(parts: Sequence[Buffer]) -> tuple[bytes, int]:
    """The last bytes of the parts, enough for the trailer where it fits, and the size of all."""
    size = sum(memoryview(part).nbytes for part in parts)
    footer = _last(parts, FOOTER_LENGTH)
    wanted = min(size, int.from_bytes(footer[-16:-8], "little") + FOOTER_LENGTH)
    return _last(parts, wanted), size


def _last(parts: Sequence[Buffer], count: int) -> bytes:
    """The last `count` bytes, or all where there are fewer."""
    pieces: list[Buffer] = []
    for part in reversed(parts):
        if count <= 0:
            break
        view = memoryview(part)
        pieces.insert(0, view[max(0, view.nbytes - count) :])
        count -= view.nbytes
    return b"".join(pieces)
