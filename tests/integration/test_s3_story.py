"""A repository in S3 as its user meets it: the real executable against a real SeaweedFS."""

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from backstay.storage.registry import open_storage
from backstay.testing.s3_servers import SECRET_KEY, SeaweedServer, ServerMissing, shared_seaweed

EXECUTABLE = Path(sys.executable).parent / "backstay"
BUCKET = "story-tests"
_numbers = itertools.count()


class Client:
    """Runs `backstay` with an environment of its own; no run may show a traceback or a key."""

    def __init__(self, folder, server, location):
        self.folder = folder
        self.location = location
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "BACKSTAY_STATE": str(folder / "state"),
            "BACKSTAY_CACHE": str(folder / "cache"),
            "BACKSTAY_PASSPHRASE": "correct horse",
            "LANG": "C.UTF-8",
            "AWS_MAX_ATTEMPTS": "2",
            **server.environment(),
        }

    def start(self, verb, *arguments):
        """Start `backstay repo VERB LOCATION …`."""
        return subprocess.Popen(
            [str(EXECUTABLE), "repo", verb, self.location, *map(str, arguments), "--json"],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def finish(self, process, code=0):
        """What it printed, by event; it must end with `code`."""
        out, err = process.communicate(timeout=120)
        assert "Traceback" not in out + err and "panicked" not in err and SECRET_KEY not in out + err
        assert process.returncode == code, out + err
        return {event["event"]: event for event in map(json.loads, out.splitlines())}

    def __call__(self, verb, *arguments, code=0):
        """Run it to its end."""
        return self.finish(self.start(verb, *arguments), code)


def _fill(folder, files, size):
    folder.mkdir()
    for number in range(files):
        (folder / f"{number}").write_bytes(os.urandom(size))


def _stored(client):
    """Names of the packs, as the storage lists them."""
    return {info.name for info in open_storage(client.location).list("packs/")}


def _same_trees(one, other):
    subprocess.run(["diff", "-r", "--no-dereference", str(one), str(other)], check=True)


def _look_at(server, monkeypatch):
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def client(tmp_path, monkeypatch):
    """A client of the shared server, with a prefix of its own."""
    try:
        server = shared_seaweed()
    except ServerMissing as missing:
        pytest.skip(str(missing))
    server.make_bucket(BUCKET)
    _look_at(server, monkeypatch)
    return Client(tmp_path, server, f"s3://{BUCKET}/repository-{os.getpid()}-{next(_numbers)}")


def test_the_whole_story(client, tmp_path):
    """Init, full, incremental, list, verify all data, restore both, forget the first, verify again."""
    docs = tmp_path / "docs"
    _fill(docs, 30, 40_000)
    made = client("init", "--recovery-sheet", tmp_path / "sheet.txt")["result"]
    assert made["location"].startswith(client.location) and "endpoint=http" in made["location"]
    first = client("backup", docs)["result"]["point"]
    before = tmp_path / "before"
    subprocess.run(["cp", "-a", str(docs), str(before)], check=True)
    (docs / "0").write_bytes(b"changed")
    (docs / "new").write_bytes(os.urandom(100_000))
    second = client("backup", docs)["result"]["point"]
    assert first["id"] != second["id"] and second["type"] == "incremental"
    client("verify", "--data")
    client("restore", first["id"][:12], "--to", tmp_path / "first")
    client("restore", "latest", "--to", tmp_path / "second")
    _same_trees(before, tmp_path / "first" / docs.relative_to("/"))
    _same_trees(docs, tmp_path / "second" / docs.relative_to("/"))
    client("init", "--recovery-sheet", tmp_path / "sheet2.txt", code=1)
    pruned = client("prune", "--keep-daily", "1", "--grace-hours", "0")["result"]
    assert pruned["expired"] == [first["id"]] and pruned["deleted_packs"]
    client("verify", "--data")
    assert SECRET_KEY not in (tmp_path / "sheet.txt").read_text()


def test_killed_in_the_middle(client, tmp_path):
    """A backup killed while it sends leaves no point; the next sends only what was not there."""
    docs = tmp_path / "docs"
    _fill(docs, 40, 4_000_000)
    client("init", "--recovery-sheet", tmp_path / "sheet.txt")
    process = client.start("backup", docs)
    give_up = time.monotonic() + 60
    while len(_stored(client)) < 2 and time.monotonic() < give_up and process.poll() is None:
        pass
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    kept = _stored(client)
    assert len(kept) >= 2
    result = client("backup", docs)["result"]
    assert kept <= _stored(client)
    assert result["point"]["stored_bytes"] < 160_000_000 - 30_000_000 * len(kept)
    client("verify", "--data")
    client("restore", "latest", "--to", tmp_path / "out", "--no-verify")
    _same_trees(docs, tmp_path / "out" / docs.relative_to("/"))


def test_the_server_dies_in_the_middle(tmp_path, monkeypatch):
    """A server that goes away is told in one sentence; once it is back, the backup resumes."""
    docs = tmp_path / "docs"
    _fill(docs, 25, 4_000_000)
    try:
        server = SeaweedServer(tmp_path / "weed")
    except ServerMissing as missing:
        pytest.skip(str(missing))
    with server:
        server.make_bucket(BUCKET)
        _look_at(server, monkeypatch)
        client = Client(tmp_path, server, f"s3://{BUCKET}/mortal")
        client("init", "--recovery-sheet", tmp_path / "sheet.txt")
        process = client.start("backup", docs)
        give_up = time.monotonic() + 60
        while not _stored(client) and time.monotonic() < give_up:
            pass
        server.stop()
        error = client.finish(process, code=1)["error"]
        assert server.endpoint in error["what"] and error["hint"]
        server.start()
        client("backup", docs)
        client("verify", "--data")
