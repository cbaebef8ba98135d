"""Prunes, pack checks and backups of several file servers at once, as a busy night has them."""

import threading
from pathlib import Path
from random import Random

import pytest
from fastapi.testclient import TestClient
from tests.server.conftest import MovableClock
from tests.server.upkeep_rig import Protected, points_in_repository, repository_id_of, run_job

from backstay.repository.browse import Browser
from backstay.repository.content import file_bytes
from backstay.repository.manifest import RestorePoint
from backstay.repository.verify import run_verify
from backstay.server import pack_checks
from backstay.server.control import Control
from backstay.server.tables import BackupSetRow

pytestmark = pytest.mark.parametrize("control", ["sqlite"], indirect=True)


def _content(control: Control, point: RestorePoint, folder: Path) -> dict[str, bytes]:
    browser = Browser(control.repositories.get(repository_id_of(control)))
    return {
        found.path.decode(): b"".join(file_bytes(found.entry, browser.read))
        for found in browser.walk(point, str(folder).encode())
        if found.entry.is_regular
    }


def test_backups_beside_prunes_lose_nothing(
    control: Control,
    client: TestClient,
    clock: MovableClock,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """While two file servers back up, old points are pruned without grace: all that stays reads exactly."""
    monkeypatch.setenv("BACKSTAY_STATE", str(tmp_path / "state"))
    servers = [Protected.new(control, tmp_path / name, name) for name in ("fs1", "fs2")]
    with control.database.begin() as db:
        for one in servers:
            db.get_one(BackupSetRow, one.set_id).policy_layer = {"retention": {"daily": 2}}
    expected: dict[str, tuple[Path, dict[str, bytes]]] = {}
    errors: list[BaseException] = []

    def backups(one: Protected, seed: int) -> None:
        chance = Random(seed)
        try:
            for number in range(5):
                for _ in range(8):
                    one.write(f"d{chance.randrange(4)}/{chance.randrange(12)}", chance.randbytes(3000))
                if number == 3:
                    one.write("d0/0", Random(99).randbytes(3000))
                content = {str(path): path.read_bytes() for path in one.source.rglob("*") if path.is_file()}
                expected[one.back_up()] = (one.source, content)
                clock.forward(days=1)
        except BaseException as error:  # noqa: BLE001  a thread's failure is the test's
            errors.append(error)

    threads = [threading.Thread(target=backups, args=(one, seed)) for seed, one in enumerate(servers)]
    for thread in threads:
        thread.start()
    base = f"/api/v1/repositories/{repository_id_of(control)}"
    states: list[str] = []
    while any(thread.is_alive() for thread in threads) or len(states) < 2:
        number = client.post(f"{base}/prune", json={"grace_hours": 0}).json()["job"]
        job = run_job(control, number)
        states.append(f"{job.state} {job.reason}")
        pack_checks.check_new(control)
    for thread in threads:
        thread.join()
    assert not errors
    assert set(states) == {"succeeded "}
    last = run_job(control, client.post(f"{base}/prune", json={"grace_hours": 0}).json()["job"])
    assert last.state == "succeeded"
    stays = points_in_repository(control)
    assert 2 <= len(stays) < 10
    repository = control.repositories.get(repository_id_of(control))
    for point in repository.points():
        folder, content = expected[point.id.hex()]
        assert _content(control, point, folder) == content
    assert run_verify(repository, data_percent=100).intact
