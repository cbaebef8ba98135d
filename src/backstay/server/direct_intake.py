"""Packs that go straight to S3: the server signs each put, and looks at what came of it.

A signed request is good for one name, once, create-only, for a quarter of an hour. The server cannot hash
what it did not see: such a pack counts for its own file server only, until it was read and checked like
every other, and that not before the request has expired.
"""

import os
import threading
from datetime import timedelta

from backstay.domain.errors import Conflict, DamagedObject
from backstay.repository.layout import digest_of, pack_name
from backstay.repository.pack import read_trailer
from backstay.server.control import Control
from backstay.server.grants import Grant, refused
from backstay.server.intake import require_own_session
from backstay.server.tables import PackRow, RepositoryRow
from backstay.storage.gateway import Signed
from backstay.storage.s3_location import S3Location
from backstay.storage.s3_presign import Presigner

VALID_FOR = timedelta(minutes=15)


class DirectIntake:
    """Signs and confirms. Safe to use from several threads."""

    def __init__(self, control: Control) -> None:
        self._control = control
        self._lock = threading.Lock()
        self._presigners: dict[str, Presigner] = {}

    def presign(self, grant: Grant, name: str) -> Signed:
        """A request that stores the pack `name`.

        Raises:
            Forbidden: it is no pack, belongs to another file server, or the job may not store.
            Conflict: packs of this repository go through the server.
        """
        digest = digest_of(name)
        if grant.reads or digest is None or name != pack_name(digest):
            raise refused(f"a request to store {name} was to be signed")
        signed = self._presigner(grant.repository_id).put(name, int(VALID_FOR.total_seconds()))
        now = self._control.clock()
        with self._control.database.begin() as db:
            row = db.get(PackRow, (grant.repository_id, digest.hex()))
            if row is None:
                row = PackRow(
                    repository_id=grant.repository_id,
                    digest=digest.hex(),
                    file_server_id=grant.file_server_id,
                    session="",
                    size=0,
                    stored_at=now,
                )
                db.add(row)
            elif row.file_server_id != grant.file_server_id or row.checked_at is not None:
                raise refused(f"a request to store {name} again was to be signed")
            row.presigned_until = now + VALID_FOR
        return Signed(signed.url, signed.headers)

    def confirm(self, grant: Grant, name: str) -> None:
        """Count in a pack that was stored by a presigned request. May be repeated.

        Raises:
            ObjectNotFound: it is not there.
            Forbidden: nobody asked for it to be signed, or its session is not of this file server.
            DamagedObject: its end is not that of a pack.
        """
        digest = digest_of(name)
        if grant.reads or digest is None or name != pack_name(digest):
            raise refused(f"{name} was to be counted in")
        repository = self._control.repositories.get(grant.repository_id)
        size = repository.storage.size(name)
        trailer = read_trailer(repository.storage, name, repository.secrets.catalogue_key, size)
        if not trailer.frames:
            raise DamagedObject(name, "there is nothing in it")
        session = trailer.session.hex()
        with self._control.database.begin() as db:
            require_own_session(db, grant, session)
            row = db.get(PackRow, (grant.repository_id, digest.hex()))
            if row is None or row.file_server_id != grant.file_server_id:
                raise refused(f"{name} was to be counted in, which nobody asked to store")
            row.session, row.size = session, size

    def _presigner(self, repository_id: str) -> Presigner:
        with self._lock:
            known = self._presigners.get(repository_id)
            if known is None:
                with self._control.database.read() as db:
                    row = db.get_one(RepositoryRow, repository_id)
                if row.data_path != "direct":
                    raise Conflict("packs of this repository go through the server")
                known = self._presigners[repository_id] = Presigner(
                    S3Location.parse(row.location, os.environ)
                )
            return known
