"""Recovery points are given back whatever happens: to the job, to the agent, to the machine."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from backstay.backup.workflow import CLEAN_UP, TRANSMIT
from backstay.server import job_queue
from backstay.testing.agent_worker import Seam
from backstay.testing.fleet_rig import FleetRig, until


@pytest.fixture(scope="module")
def btrfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A mounted btrfs."""
    base = tmp_path_factory.mktemp("btrfs")
    file, mounted = base / "image", base / "mounted"
    mounted.mkdir()
    with file.open("wb") as made:
        made.truncate(256 << 20)
    for words in (["mkfs.btrfs", "-q", str(file)], ["mount", "-o", "loop", str(file), str(mounted)]):
        try:
            done = subprocess.run(words, capture_output=True, text=True, check=False)
        except FileNotFoundError:
            pytest.skip(f"{words[0]} is not installed")
        if done.returncode:
            pytest.skip(f"btrfs images cannot be made and mounted here: {done.stderr.strip()}")
    for number in range(20):
        (mounted / f"file-{number}").write_bytes(bytes([number]) * 5000)
    yield mounted
    subprocess.run(["umount", "--lazy", str(mounted)], check=True)


def recovery_points(btrfs: Path) -> list[str]:
    """Those that exist now."""
    words = ["btrfs", "subvolume", "list", str(btrfs)]
    lines = subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()
    return [line for line in lines if "backstay-" in line]


def test_left_over_by_a_killed_agent(rig: FleetRig, btrfs: Path) -> None:
    """An agent that starts deletes what the one before it left, before anybody asks for a backup."""
    agent = rig.started("frozen", Seam(kill_at=f"{TRANSMIT} start", boot_id="boot-1"))
    set_id = rig.set_of(agent, [btrfs])
    rig.until_connected(agent)
    number = rig.back_up(set_id)
    assert agent.running.wait(60) == -9
    assert recovery_points(btrfs) != []
    agent.start(Seam(boot_id="boot-2"))
    until("the recovery points to be swept", lambda: recovery_points(btrfs) == [])
    assert rig.ended(number).state == "aborted"
    rig.until_connected(agent)
    job = rig.ended(rig.back_up(set_id))
    assert job.state == "succeeded"
    assert any("recovery point" in text for text in job.steps[2]["messages"]), job.steps[2]
    assert recovery_points(btrfs) == []


def test_of_a_cancelled_job(rig: FleetRig, btrfs: Path) -> None:
    """A job that is cancelled while it transmits gives its recovery points back, and shows that it did."""
    agent = rig.started("cancelled", Seam(pause_at=(f"{TRANSMIT} start",)))
    set_id = rig.set_of(agent, [btrfs])
    rig.until_connected(agent)
    number = rig.back_up(set_id)
    agent.until_paused()
    with rig.control.database.begin() as db:
        job_queue.cancel(db, job_queue.get_job(db, number), "somebody", rig.control.clock())
    # The answer to the first report after it tells the agent; the second shows that it has arrived.
    revision = rig.job(number).revision
    until("the agent to hear of it", lambda: rig.job(number).revision >= revision + 2)
    agent.go_on()
    job = rig.ended(number)
    assert (job.state, job.reason) == ("cancelled", "cancelled by somebody")
    assert (job.steps[-1]["name"], job.steps[-1]["state"]) == (CLEAN_UP, "done")
    assert recovery_points(btrfs) == []
