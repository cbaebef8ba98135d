"""A set's latest manifest is lost in the server's storage: backups go on, and the loss is named."""

import os
from pathlib import Path

import pytest
from tests.resilience.thief import only_file

from backstay.repository.layout import MANIFESTS
from backstay.repository.verify import run_verify
from backstay.server import alerts
from backstay.server.tables import AlertRow, RestorePointRow
from backstay.storage.local import LocalStorage
from backstay.testing.fleet_rig import FleetRig


@pytest.mark.parametrize("points", [1, 2])
def test_a_lost_latest_manifest_is_named_and_backups_go_on(
    tmp_path: Path, rig: FleetRig, points: int
) -> None:
    """Deleted, or damaged: the next backup succeeds, follows the gap, and job, alert and verify name it."""
    agent = rig.started(f"loses-{points}")
    rig.until_connected(agent)
    folder = tmp_path / "data"
    jobs = []
    for _ in range(points):
        set_id = rig.set_of(agent, [only_file(folder, os.urandom(9000))])
        jobs.append(rig.ended(rig.back_up(set_id)))
    lost = str(jobs[-1].restore_point_id)
    storage = rig.repository().storage
    assert isinstance(storage, LocalStorage)
    path = storage.path_of(f"{MANIFESTS}{lost}")
    if points == 1:
        path.unlink()
    else:
        path.chmod(0o600)
        path.write_bytes(path.read_bytes()[:-1])
    only_file(folder, os.urandom(9000))
    job = rig.ended(rig.back_up(set_id))
    assert (job.state, job.reason) == ("succeeded", "")
    assert any(lost[:10] in text and "lost" in text for text in rig.messages(job.id))
    with rig.control.database.read() as db:
        row = db.get_one(RestorePointRow, lost)
        after = db.get_one(RestorePointRow, str(job.restore_point_id))
        assert (row.damaged, after.damaged, after.sequence) == (True, False, row.sequence + 1)
    alerts.evaluate(rig.control)
    with rig.control.database.read() as db:
        assert any(one.kind == "damage" and one.resolved_at is None for one in db.query(AlertRow))
    named = {error.name for error in run_verify(rig.repository(), data_percent=0).damages}
    assert f"{MANIFESTS}{lost}" in named
    assert rig.ended(rig.back_up(set_id)).state == "succeeded"
    agent.stop()
