"""The network goes away, for moments and for longer than the policy waits; proxies; certificates."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from backstay.testing.agent_worker import Seam
from backstay.testing.fleet_rig import FleetRig, ServerPlace, until
from backstay.testing.network_rig import ConnectProxy, CutOff, NoNetworks


@pytest.fixture(scope="module")
def link() -> Iterator[CutOff]:
    """A network that can be cut."""
    try:
        with CutOff() as link:
            yield link
    except NoNetworks as why:
        pytest.skip(f"no network namespaces here: {why}")


@pytest.fixture(scope="module")
def far(link: CutOff, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FleetRig]:
    """A server whose agents are behind the link, over TLS."""
    folder = tmp_path_factory.mktemp("far")
    with FleetRig(folder, ServerPlace(folder / "server", host=link.here, tls="self-signed")) as rig:
        yield rig


def test_a_link_that_is_down_for_seconds(far: FleetRig, link: CutOff, source: Path) -> None:
    """A job that is cut off while it sends goes on by itself when the link is back."""
    agent = far.enrol("near", inside=link.inside)
    agent.start(Seam(pause_at=("put packs start 1", "put packs start 2")))
    far.until_connected(agent)
    number = far.back_up(far.set_of(agent, [source]))
    for _ in range(2):
        agent.until_paused()
        felt = agent.said().count("report failed")
        link.cut()
        agent.go_on()
        until("the cut to be felt", lambda felt=felt: agent.said().count("report failed") > felt)
        link.mend()
    job = far.ended(number)
    assert (job.state, job.reason) == ("succeeded", ""), far.messages(number)
    assert far.blobs_stored_twice(agent) == []
    agent.stop()


def test_longer_than_the_policy_waits(far: FleetRig, link: CutOff, source: Path) -> None:
    """The job fails and says why; the next one sends only what is missing."""
    agent = far.enrol("away", inside=link.inside)
    agent.start(Seam(pause_at=("put packs start 2",)))
    far.until_connected(agent)
    policy = {"retries": {"count": 0, "network_patience_seconds": 3}}
    set_id = far.set_of(agent, [source], policy=policy)
    number = far.back_up(set_id)
    agent.until_paused()
    link.cut()
    agent.go_on()
    until("the job to end", lambda: "job ended" in agent.said(), 60)
    link.mend()
    job = far.ended(number)
    assert job.state == "failed"
    assert "cannot be reached" in job.reason
    assert "patience of 0:00:03 is over" in job.reason
    assert "does not send again what was stored" in job.hint
    far.until_connected(agent)
    following = far.ended(far.back_up(set_id))
    assert (following.state, following.reason) == ("succeeded", "")
    assert following.figures["stored_bytes"] < 50 << 20
    assert far.blobs_stored_twice(agent) == []
    agent.stop()


def enrol(url: str, token: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """`backstay agent enrol`."""
    words = [sys.executable, "-m", "backstay.cli", "agent", "enrol", url, token, "--name", folder.name]
    env = {**os.environ, "BACKSTAY_AGENT": str(folder), **environment}
    return subprocess.run(words, env=env, capture_output=True, text=True, check=False)


def test_certificates_and_a_proxy(small_source: Path, tmp_path: Path) -> None:
    """An agent talks to the token's server alone, from the first word on, be it through a proxy."""
    with FleetRig(tmp_path, ServerPlace(tmp_path / "server", tls="self-signed")) as rig:
        with ConnectProxy() as proxy:
            agent = rig.enrol("behind-a-proxy")
            through = {"HTTPS_PROXY": proxy.url, "NO_PROXY": ""}
            agent.start(environment=through)
            rig.until_connected(agent)
            set_id = rig.set_of(agent, [small_source])
            assert rig.ended(rig.back_up(set_id)).state == "succeeded"
            assert set(proxy.asked) == {f"127.0.0.1:{rig.server.port}"}
            assert enrol(rig.server.url, rig.token(), tmp_path / "another", **through).returncode == 0
        agent.stop()
        token = rig.token()
        rig.server.stop()
        old = (rig.server.folder / "tls.crt").read_bytes()
        for name in ("tls.crt", "tls.key"):
            (rig.server.folder / name).unlink()
        rig.server.start()
        assert (rig.server.folder / "tls.crt").read_bytes() != old
        done = enrol(rig.server.url, token, tmp_path / "deceived")
        assert done.returncode == 1
        assert "shows another certificate" in done.stderr
        assert not (tmp_path / "deceived" / "agent.json").exists()
        agent.start()
        until("the agent to refuse the server", lambda: "certificate verify failed" in agent.said())
        assert agent.running.process.poll() is None
    shutil.rmtree(tmp_path / "server")
