"""A server that lost its database, or is given a repository from elsewhere, rebuilds its catalogue."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select
from tests.server.conftest import MovableClock
from tests.server.engine_backups import back_up
from tests.server.upkeep_rig import Protected, location_of, point_row, points_in_repository, repository_id_of

from backstay.domain.errors import WrongPassphrase
from backstay.repository.repository import Repository
from backstay.server import adoption, reconcile
from backstay.server.access import SYSTEM
from backstay.server.app import open_control
from backstay.server.control import Control
from backstay.server.settings import ServerSettings
from backstay.server.stored_blobs import Asker, StoredBlobs
from backstay.server.tables import AuditEntry, BackupSetRow, FileServer, PackRow, RestorePointRow
from backstay.storage.local import LocalStorage


@pytest.fixture
def second(tmp_path: Path, clock: MovableClock) -> Iterator[Control]:
    """A server with an empty database and another key."""
    folder = tmp_path / "second"
    settings = ServerSettings(folder=folder, tls="off", public_url="http://second.test", background=False)
    control = open_control(settings, clock=clock)
    yield control
    control.database.close()


def _rows(control: Control) -> list[RestorePointRow]:
    with control.database.read() as db:
        return list(db.scalars(select(RestorePointRow).order_by(RestorePointRow.committed_at)))


def test_a_lost_database_is_rebuilt_from_the_repository_and_a_passphrase(
    tmp_path: Path, second: Control, clock: MovableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """File servers, sets with their paths and all points come back; twice is once; agents may enrol anew."""
    monkeypatch.setenv("BACKSTAY_STATE", str(tmp_path / "state"))
    location = str(tmp_path / "repository")
    repository, recovery_key = Repository.create(LocalStorage(location, create=True), "correct horse")
    source = tmp_path / "source"
    source.mkdir()
    (source / "file").write_bytes(b"x" * 5000)
    points = [back_up(repository, source, "fs1"), back_up(repository, source, "fs2")]
    with pytest.raises(WrongPassphrase):
        adoption.adopt_repository(second, SYSTEM, location, "wrong")
    adopted = adoption.adopt_repository(second, SYSTEM, location, str(recovery_key))
    assert (adopted.is_new, adopted.damaged) == (True, [])
    assert adopted.points.file_servers == ["fs1", "fs2"]
    assert adopted.packs > 0
    assert {row.id for row in _rows(second)} == {point.hex() for point in points}
    with second.database.read() as db:
        sets = db.scalars(select(BackupSetRow)).all()
        assert [(one.paths, one.enabled) for one in sets] == [([str(source)], False)] * 2
        assert [one.agent_key_hash for one in db.scalars(select(FileServer))] == [None, None]
        assert all(one.checked_at is None for one in db.scalars(select(PackRow)))
    assert all(row.committed_at <= clock() for row in _rows(second))
    again = adoption.adopt_repository(second, SYSTEM, location, "correct horse")
    assert (again.is_new, again.points.restore_points, again.packs) == (False, [], 0)
    assert second.repositories.get(adopted.repository_id).secrets.can_read


def test_packs_that_somebody_vouches_for_count_at_once(
    tmp_path: Path, second: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Adopted as trusted: backups rely on what is there unread, and the audit log says who wanted it."""
    monkeypatch.setenv("BACKSTAY_STATE", str(tmp_path / "state"))
    location = str(tmp_path / "repository")
    repository, _ = Repository.create(LocalStorage(location, create=True), "correct horse")
    source, content = tmp_path / "source", b"x" * 5000
    source.mkdir()
    (source / "file").write_bytes(content)
    back_up(repository, source, "fs1")
    adopted = adoption.adopt_repository(second, SYSTEM, location, "correct horse", trust_packs=True)
    stored = StoredBlobs(second, adopted.repository_id)
    assert stored.stored([repository.blob_id(content), bytes(32)], Asker(1, 1, 1)) == b"\1\0"
    with second.database.read() as db:
        entry = db.scalars(select(AuditEntry).where(AuditEntry.action == "repository.trust_packs")).one()
    assert entry.after == {"packs": adopted.packs}


def test_a_point_whose_server_died_before_it_was_entered_is_entered_later(
    control: Control, tmp_path: Path, clock: MovableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The manifest is there, the catalogue has no row: an hour later it is taken in under its set."""
    monkeypatch.setenv("BACKSTAY_STATE", str(tmp_path / "state"))
    protected = Protected.new(control, tmp_path)
    protected.write("file", b"y" * 3000)
    point = protected.back_up(enter=False)
    repository_id = repository_id_of(control)
    assert points_in_repository(control) == {point}
    clock.now = control.clock().now(tz=clock.now.tzinfo)
    assert reconcile.adopt_points(control, SYSTEM, repository_id).restore_points == []
    clock.forward(hours=2)
    found = reconcile.adopt_points(control, SYSTEM, repository_id)
    assert (found.restore_points, found.file_servers, found.backup_sets) == ([point], [], [])
    assert point_row(control, point).backup_set_id == protected.set_id


def test_packs_that_nobody_knows_are_taken_in_and_those_that_are_gone_forgotten(
    control: Control, tmp_path: Path, clock: MovableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rows become what the storage has; what is younger than an hour is left alone."""
    monkeypatch.setenv("BACKSTAY_STATE", str(tmp_path / "state"))
    protected = Protected.new(control, tmp_path)
    protected.write("file", b"z" * 3000)
    protected.back_up(enter=False)
    clock.now = control.clock().now(tz=clock.now.tzinfo)
    repository_id = repository_id_of(control)
    with control.database.begin() as db:
        row = PackRow(repository_id=repository_id, digest="ab" * 32, session="", size=1, stored_at=clock())
        db.add(row)
    assert reconcile.reconcile_packs(control, repository_id) == reconcile.PacksFound(0, 0)
    clock.forward(hours=2)
    stored = sum(1 for path in Path(location_of(control), "packs").rglob("*") if path.is_file())
    assert reconcile.reconcile_packs(control, repository_id) == reconcile.PacksFound(1, stored)
    assert reconcile.reconcile_packs(control, repository_id) == reconcile.PacksFound(0, 0)
    assert [reconcile.look(control), reconcile.look(control)] == [1, 0]
    clock.forward(hours=7)
    assert reconcile.look(control) == 1
