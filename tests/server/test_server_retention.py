"""Retention and prune through the server: what goes, what nobody can take out, and what is only shown."""

from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from tests.server.conftest import MovableClock
from tests.server.upkeep_rig import (
    Protected,
    point_row,
    points_in_repository,
    repository_id_of,
    run_job,
)

from backstay.domain.errors import Conflict
from backstay.domain.job import JobKind
from backstay.repository.session import REVOKED
from backstay.server import retention
from backstay.server.access import SYSTEM
from backstay.server.control import Control
from backstay.server.tables import BackupSetRow
from backstay.server.upkeep_schedule import request_job

KEEP_TWO_DAYS = {"retention": {"keep_days": 2}}


@pytest.fixture
def protected(control: Control, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Protected:
    """A file server whose set keeps two days."""
    monkeypatch.setenv("BACKSTAY_STATE", str(tmp_path / "state"))
    made = Protected.new(control, tmp_path)
    with control.database.begin() as db:
        db.get_one(BackupSetRow, made.set_id).policy_layer = KEEP_TWO_DAYS
    return made


def _backups(protected: Protected, clock: MovableClock, count: int) -> list[str]:
    points = []
    for number in range(count):
        protected.write("file", b"x" * 2000 + bytes([number]))
        points.append(protected.back_up())
        clock.forward(days=1)
    return points


def _prune(control: Control, **request: object) -> int:
    with control.database.begin() as db:
        return request_job(
            db, SYSTEM, JobKind.PRUNE, repository_id_of(control), now=control.clock(), request=request
        ).id


def test_prune_takes_out_what_the_policy_lets_go_and_nothing_that_is_held(
    control: Control, protected: Protected, clock: MovableClock
) -> None:
    """Old points go with their reasons in the catalogue; a held one stays; a dry run changes nothing."""
    oldest, old, *young = _backups(protected, clock, 5)
    with control.database.begin() as db:
        retention.hold(db, SYSTEM, old, "the court wants it", now=clock())
    dry = run_job(control, _prune(control, dry_run=True))
    assert (dry.state, dry.reason) == ("succeeded", "")
    assert dry.figures["expired"] == [oldest, young[0]]
    assert points_in_repository(control) == {oldest, old, *young}
    assert point_row(control, oldest).expired_at is None
    job = run_job(control, _prune(control, grace_seconds=0))
    assert (job.state, job.reason) == ("succeeded", "")
    assert points_in_repository(control) == {old, *young[1:]}
    assert point_row(control, oldest).expired_reason == "older than 2 days"
    assert [step["state"] for step in job.steps] == ["done"] * len(job.steps)


def test_a_hold_and_an_expiry_exclude_each_other(
    control: Control, protected: Protected, clock: MovableClock
) -> None:
    """What is marked cannot be held any more, and says so; what is held cannot be deleted by anyone."""
    oldest, *_ = _backups(protected, clock, 5)
    with control.database.begin() as db:
        marked = retention.expire(db, repository_id_of(control), [oldest], clock())
    assert marked == [oldest]
    with pytest.raises(Conflict, match="being taken out"), control.database.begin() as db:
        retention.hold(db, SYSTEM, oldest, "too late", now=clock())


def test_points_of_a_removed_set_stay_until_somebody_deletes_them(
    control: Control, client: TestClient, protected: Protected, clock: MovableClock
) -> None:
    """Removing a set expires nothing; deleting its points by hand spares the held ones."""
    points = _backups(protected, clock, 4)
    with control.database.begin() as db:
        db.get_one(BackupSetRow, protected.set_id).removed_at = clock()
        retention.hold(db, SYSTEM, points[0], "keep", now=clock())
    clock.forward(days=900)
    run_job(control, _prune(control))
    assert points_in_repository(control) == set(points)
    answer = client.post(f"/api/v1/backup-sets/{protected.set_id}/delete-points", json={"reason": "left"})
    assert answer.json() == {"going": 3, "held": 1}
    run_job(control, _prune(control))
    assert points_in_repository(control) == {points[0]}


def test_a_point_of_a_backup_that_was_given_up_is_not_reported_as_damage(
    control: Control, protected: Protected, clock: MovableClock
) -> None:
    """A session that was given up put its manifest after all: prune takes it out, the catalogue says why."""
    kept = _backups(protected, clock, 1)
    protected.write("file", b"late")
    late = protected.back_up()
    repository = control.repositories.get(repository_id_of(control))
    session = next(point.manifest.session for point in repository.points() if point.id.hex() == late)
    end = f"sessions/{session.hex()}/end"
    repository.storage.delete(end)
    repository.storage.put(end, [REVOKED])
    clock.forward(days=1)
    assert run_job(control, _prune(control)).state == "succeeded"
    assert points_in_repository(control) == set(kept)
    assert point_row(control, late).expired_reason.endswith("it had been given up")
