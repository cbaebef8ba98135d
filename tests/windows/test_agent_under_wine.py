"""The Windows agent, under wine, with a real server: enrolled, ordered to back up and to restore, stopped."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from backstay.testing.wine import Wine

pytestmark = pytest.mark.timeout(900)

_PROGRAM = "import sys; from backstay.cli.main import main; sys.exit(main(sys.argv[1:]))"
_SECONDS = 90.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """Its API, signed in."""
    folder = tmp_path_factory.mktemp("server")
    log = folder / "log"
    with log.open("wb") as file:
        running = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, "up", "--folder", str(folder / "up"), "--port", "0"],
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    try:
        found = _until(lambda: re.search(r"up at (\S+)\n.*password (\S+)", log.read_text()))
        with httpx.Client(base_url=f"{found[1]}/api/v1", timeout=60) as client:
            signed_in = client.post("/session", json={"name": "admin", "password": found[2]}).json()
            client.headers["X-CSRF-Token"] = signed_in["csrf_token"]
            yield client
    finally:
        running.send_signal(signal.SIGTERM)
        running.wait(60)


@pytest.fixture
def agent(wine: Wine, server: httpx.Client, tmp_path: Path) -> Iterator[int]:
    """An agent that runs: the number of its file server."""
    environment = {"BACKSTAY_AGENT": wine.path(tmp_path / "agent")}
    token = server.post("/enrolment-tokens", json={}).json()["token"]
    url = str(server.base_url).removesuffix("/api/v1/")
    enrol = ["-c", _PROGRAM, "agent", "enrol", url, token, "--name", "winbox"]
    done = wine.python(enrol, environment=environment)
    assert "winbox is enrolled" in done.stdout, done.stdout
    with wine.started(["-c", _PROGRAM, "agent", "run"], environment) as running:
        number = next(one["id"] for one in _all(server, "/file-servers") if one["name"] == "winbox")
        _until(
            lambda: running.poll() is not None or server.get(f"/file-servers/{number}").json()["connected"]
        )
        assert running.poll() is None, (wine.folder / "started.log").read_text(errors="replace")
        yield number
        assert running.poll() is None


def _until(look: Callable[[], Any]) -> Any:
    ends = time.monotonic() + _SECONDS
    while not (found := look()):
        assert time.monotonic() < ends
        time.sleep(0.3)
    return found


def _all(server: httpx.Client, path: str) -> list[dict[str, Any]]:
    answer = server.get(path).json()
    return next(value for value in answer.values() if isinstance(value, list))


def _ended(server: httpx.Client, job: int) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        found: dict[str, Any] = server.get(f"/jobs/{job}").json()
        return found if found["ended_at"] else None

    ended: dict[str, Any] = _until(look)
    return ended


def test_backs_up_and_restores_as_the_server_orders(
    wine: Wine, server: httpx.Client, agent: int, tmp_path: Path
) -> None:
    """A set with a Windows path: six steps, read live as there is no VSS; the files come back."""
    source = tmp_path / "source"
    source.mkdir()
    (source / "Größe.txt").write_bytes(b"hello\r\n")
    (source / "large.bin").write_bytes(os.urandom(2 << 20))
    said = server.get(f"/file-servers/{agent}").json()
    assert said["system"] == "windows"
    new = {"file_server_id": agent, "name": "data", "paths": [wine.path(source)]}
    made = server.post("/backup-sets", json=new).json()
    job = _ended(server, server.post(f"/backup-sets/{made['id']}/backup", json={}).json()["id"])
    assert job["state"] == "succeeded", job
    assert [step["state"] for step in job["steps"]] == ["done"] * 6
    assert job["figures"]["files"] == 2
    out = tmp_path / "out"
    order = {"restore_point": job["restore_point"], "target": wine.path(out), "file_server_id": agent}
    answer = server.post("/restores", json=order)
    assert answer.status_code == 201, answer.text
    job = _ended(server, answer.json()["job"])
    assert job["state"] in ("succeeded", "succeeded_with_warnings"), job
    there = out / "Z" / source.relative_to("/")
    assert (there / "Größe.txt").read_bytes() == b"hello\r\n"
    assert (there / "large.bin").read_bytes() == (source / "large.bin").read_bytes()
