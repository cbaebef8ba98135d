"""Taking over an existing repository: after its server's database was lost, or from elsewhere."""

import secrets
from dataclasses import dataclass, field
from datetime import timedelta

from sqlalchemy import select

from backstay.domain.errors import Conflict
from backstay.repository.keys import add_passphrase
from backstay.repository.repository import Repository
from backstay.server import audit, reconcile
from backstay.server.access import Actor
from backstay.server.control import Control
from backstay.server.repositories import PASSPHRASE
from backstay.server.tables import RepositoryRow
from backstay.storage.registry import open_storage

_AT_ONCE = timedelta(0)


@dataclass(frozen=True)
class Adoption:
    """What the database has now that it had not before.

    Attributes:
        is_new: whether the server did not keep this repository before.
        damaged: manifests that cannot be read, in words.
    """

    repository_id: str
    is_new: bool
    points: reconcile.PointsFound
    packs: int
    damaged: list[str] = field(default_factory=list)


def adopt_repository(
    control: Control,
    actor: Actor,
    location: str,
    passphrase: str,
    *,
    name: str = "",
    trust_packs: bool = False,
) -> Adoption:
    """Keep the repository at `location` from now on, and rebuild its catalogue. May be repeated.

    The server gives itself a passphrase of its own there: the one given, or the recovery key, is not kept.

    Args:
        passphrase: one of the repository's, or its recovery key.
        name: how the server calls it; empty: "default", or its id where that is taken.
        trust_packs: file servers may rely on the packs that are there now. Otherwise on each of them only
            when the server has read and checked it, which it does by itself.

    Raises:
        Conflict: the name is taken, or another location is known for this repository.
        WrongPassphrase, NoRepository, StorageError, RepositoryError, ServerError.
    """
    storage = open_storage(location)
    repository = Repository.open(storage, passphrase, cache=control.settings.folder / "cache")
    repository_id = repository.id.hex()
    with control.database.read() as db:
        row = db.get(RepositoryRow, repository_id)
        taken = set(db.scalars(select(RepositoryRow.name)))
    if row is None:
        if name and name in taken:
            raise Conflict(f"there is a repository {name} already", hint="choose another --name")
        name = name or ("default" if "default" not in taken else repository_id[:12])
        _keep(control, actor, repository, location, name)
    elif row.location != location:
        raise Conflict(
            f"the server keeps this repository already, at {row.location}",
            hint="change its location there if it was moved",
        )
    points = reconcile.adopt_points(control, actor, repository_id, settled=_AT_ONCE)
    packs = reconcile.reconcile_packs(control, repository_id, settled=_AT_ONCE, trusted=trust_packs)
    if trust_packs and packs.new:
        with control.database.begin() as db:
            after = {"packs": packs.new}
            audit.record(db, actor, "repository.trust_packs", repository_id, now=control.clock(), after=after)
    damaged = [str(error) for error in control.repositories.get(repository_id).damaged]
    return Adoption(repository_id, row is None, points, packs.new, damaged)


def _keep(control: Control, actor: Actor, repository: Repository, location: str, name: str) -> None:
    own = secrets.token_urlsafe(32)
    add_passphrase(repository.storage, repository.secrets, f"server {secrets.token_hex(4)}", own)
    now = control.clock()
    with control.database.begin() as db:
        db.add(
            RepositoryRow(
                id=repository.id.hex(),
                name=name,
                location=location,
                sealed_passphrase=control.key.seal(own.encode(), PASSPHRASE),
                created_at=now,
            )
        )
        db.flush()
        after = {"name": name, "location": location}
        audit.record(db, actor, "repository.keep", repository.id.hex(), now=now, after=after)
