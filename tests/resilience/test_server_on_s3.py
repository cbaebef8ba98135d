"""The server's repository in S3: packs through the server or straight to the store; stores refused."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.resilience.conftest import fill

from backstay.testing.agent_worker import Seam
from backstay.testing.fleet_rig import FleetRig, ServerPlace, same_tree
from backstay.testing.s3_servers import RcloneServer, ServerMissing, shared_seaweed

_BUCKET = "control-plane"


@pytest.mark.parametrize("more", [[], ["--direct"]], ids=["gateway", "direct"])
def test_backups_and_restores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: list[str]) -> None:
    """An agent that is killed between two packs goes on from them, and the restore equals the source."""
    try:
        seaweed = shared_seaweed()
    except ServerMissing as why:
        pytest.skip(str(why))
    seaweed.make_bucket(_BUCKET)
    for name, value in seaweed.environment().items():
        monkeypatch.setenv(name, value)
    storage = f"s3://{_BUCKET}/{os.getpid()}-{'direct' if more else 'gateway'}"
    source = fill(tmp_path / "source", 40, 11)
    with FleetRig(tmp_path, ServerPlace(tmp_path / "server", storage=storage, more=more)) as rig:
        agent = rig.started("fs", Seam(kill_at="put packs end 1"))
        rig.until_connected(agent)
        set_id = rig.set_of(agent, [source])
        number = rig.back_up(set_id)
        assert agent.running.wait(60) == -9
        agent.start()
        assert rig.ended(number).state == "aborted"
        rig.until_connected(agent)
        job = rig.ended(rig.back_up(set_id))
        assert (job.state, job.reason) == ("succeeded", "")
        assert rig.blobs_stored_twice(agent) == []
        restored = rig.ended(rig.restore(agent, str(job.restore_point_id), tmp_path / "restored"))
        assert (restored.state, restored.reason) == ("succeeded", "")
        assert same_tree(source, tmp_path / "restored" / source.relative_to("/")) == ""


def test_a_store_that_ignores_conditional_puts(tmp_path: Path) -> None:
    """The server refuses to make its repository where two writers could overwrite each other."""
    try:
        server = RcloneServer(tmp_path / "rclone")
    except ServerMissing as why:
        pytest.skip(str(why))
    with server:
        server.make_bucket(_BUCKET)
        words = [sys.executable, "-m", "backstay.cli", "server", "--folder", str(tmp_path / "server")]
        words += ["--port", "0", "--host", "127.0.0.1", "--tls", "off", "--storage", f"s3://{_BUCKET}/x"]
        env = {**os.environ, **server.environment()}
        done = subprocess.run(words, env=env, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert "ignore" in done.stderr
    assert "Traceback" not in done.stderr
