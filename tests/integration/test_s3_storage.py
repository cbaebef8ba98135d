"""The S3 storage against a real SeaweedFS, and against a server that ignores conditional puts."""

import contextlib
import itertools
import os
import socket
import subprocess
import sys
import threading
import time
import traceback

import pytest

from backstay.domain.errors import ObjectExists, StorageError, StorageUnavailable
from backstay.repository.repository import Repository
from backstay.storage.interface import Storage
from backstay.storage.registry import open_storage
from backstay.storage.s3 import S3Storage
from backstay.storage.s3_location import S3Location
from backstay.testing.s3_servers import (
    READER_ACCESS_KEY,
    SECRET_KEY,
    RcloneServer,
    SeaweedServer,
    ServerMissing,
    shared_seaweed,
)
from backstay.testing.storage_suite import StorageSuite

BUCKET = "storage-tests"
_prefixes = itertools.count()


@pytest.fixture(scope="module")
def seaweed():
    """The server, with a bucket."""
    try:
        server = shared_seaweed()
    except ServerMissing as missing:
        pytest.skip(str(missing))
    server.make_bucket(BUCKET)
    return server


@pytest.fixture
def keys(seaweed, monkeypatch):
    """The environment of a client with all rights; a test may change it."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in seaweed.environment().items():
        monkeypatch.setenv(name, value)


def _location(seaweed, **changes):
    fields = {"bucket": BUCKET, "prefix": f"p{next(_prefixes)}", "endpoint": seaweed.endpoint}
    return S3Location(**{**fields, **changes})


@pytest.fixture
def storage(seaweed, keys):
    """A new, empty prefix."""
    return S3Storage(_location(seaweed))


class TestS3Storage(StorageSuite):
    """In a bucket of SeaweedFS."""

    @pytest.fixture
    def storage(self, seaweed: SeaweedServer, keys: None) -> Storage:
        """A new, empty prefix."""
        return S3Storage(_location(seaweed))

    def reopened(self, storage: Storage) -> Storage:
        """Another client."""
        return open_storage(storage.location)


def test_the_root_of_a_bucket(seaweed, keys):
    """Without a prefix the objects are the bucket's own."""
    seaweed.make_bucket("whole")
    storage = S3Storage(S3Location("whole", endpoint=seaweed.endpoint))
    storage.put("packs/a", [b"1"])
    assert [info.name for info in storage.list("packs/")] == ["packs/a"]
    assert storage.location == f"s3://whole?endpoint={seaweed.endpoint}"


def test_more_than_one_page(storage):
    """A listing goes on after a thousand objects, and its times are the server's."""
    names = {f"packs/{number:04}" for number in range(1100)}
    before = time.time()

    def put_some(start):
        for number in range(start, 1100, 8):
            storage.put(f"packs/{number:04}", [b"x"])

    threads = [threading.Thread(target=put_some, args=(start,)) for start in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    infos = list(storage.list("packs/"))
    assert len(infos) == 1100 and {info.name for info in infos} == names
    assert all(before - 2 < info.modified < time.time() + 2 for info in infos)


def test_foreign_keys_are_not_objects(seaweed, keys):
    """What others keep under the prefix is listed only where it could be an object's name."""
    outer = _location(seaweed)
    storage = S3Storage(outer)
    storage.put("packs/x", [b"1"])
    from obstore.store import S3Store

    raw = S3Store(
        BUCKET, prefix=outer.prefix, aws_endpoint_url_s3=seaweed.endpoint, client_options={"allow_http": True}
    )
    raw.put("packs/.hidden", b"2")
    raw.put("packs/with space", b"3")
    assert [info.name for info in storage.list("packs/")] == ["packs/x"]


def test_a_lost_answer_costs_nothing(seaweed, keys):
    """Where the connection breaks after the server has stored the object, the repeated put succeeds."""
    data = [os.urandom(1 << 20)] * 5
    with _Proxy(seaweed.endpoint) as proxy:
        storage = S3Storage(_location(seaweed, endpoint=proxy.endpoint))
        proxy.swallow_answers = 1
        with pytest.raises(StorageUnavailable):
            storage.put("packs/x", data)
        assert storage.size("packs/x") == 5 << 20
        storage.put("packs/x", data)
        with pytest.raises(ObjectExists):
            storage.put("packs/x", [*data[:-1], os.urandom(1 << 20)])


def test_the_product_path_tries_again(seaweed, keys):
    """Opened by its location, the storage itself repeats what failed for a moment."""
    with _Proxy(seaweed.endpoint) as proxy:
        storage = open_storage(_location(seaweed, endpoint=proxy.endpoint).url)
        proxy.swallow_answers = 2
        storage.put("x", [b"1"])
        proxy.swallow_answers = 1
        assert storage.get("x") == b"1"
        assert proxy.swallow_answers == 0


_RACER = """
import sys
from backstay.domain.errors import ObjectExists
from backstay.storage.registry import open_storage
storage = open_storage(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
for number in range(20):
    try:
        storage.put(f"contested/{number}", [sys.argv[2].encode() * 100_000])
        print(number, flush=True)
    except ObjectExists:
        pass
"""


def test_two_processes_put_the_same_name(storage):
    """Of two processes that put different bytes under one name, exactly one wins, each time."""
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", _RACER, storage.location, letter],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for letter in "ab"
    ]
    assert [racer.stdout.readline() for racer in racers] == ["ready\n"] * 2
    for racer in racers:
        racer.stdin.write("go\n")
        racer.stdin.flush()
    a, b = (set(map(int, racer.communicate(timeout=60)[0].split())) for racer in racers)
    assert not a & b and a | b == set(range(20))
    for number in range(20):
        assert storage.get(f"contested/{number}", 0, 1) == (b"a" if number in a else b"b")


def test_probe_accepts_and_leaves_nothing(storage):
    """A server that honours create-only puts is accepted, and the trial leaves no object behind."""
    storage.probe()
    assert list(storage.list("")) == []


def test_probe_refuses_a_server_that_replaces(seaweed, keys, tmp_path):
    """No repository is made on a server that ignores If-None-Match: the error says so; nothing stays."""
    try:
        server = RcloneServer(tmp_path / "rclone")
    except ServerMissing as missing:
        pytest.skip(str(missing))
    with server:
        server.make_bucket("replacing")
        storage = open_storage(f"s3://replacing/repo?endpoint={server.endpoint}")
        with pytest.raises(StorageError, match="If-None-Match") as caught:
            Repository.create(storage, "pass phrase")
        assert not caught.value.retryable and caught.value.hint
        assert list(storage.list("")) == []


def _failure(storage, act):
    with pytest.raises(StorageError) as caught:
        act(storage)
    error = caught.value
    told = "".join(traceback.format_exception(error))
    assert SECRET_KEY not in told and "wrong-secret" not in told
    assert error.hint and "\n" not in error.what + error.hint
    assert "Debug source" not in error.what and "<" not in error.what
    return error


_ACTS = {
    "put": lambda storage: storage.put("x", [b"1"]),
    "get": lambda storage: storage.get("x"),
    "size": lambda storage: storage.size("x"),
    "exists": lambda storage: storage.exists("x"),
    "list": lambda storage: list(storage.list("")),
    "probe": lambda storage: storage.probe(),
}


@pytest.mark.parametrize("act", _ACTS.values(), ids=_ACTS)
def test_no_such_bucket(seaweed, keys, act):
    """A missing bucket is named by every operation, and is no empty storage."""
    error = _failure(S3Storage(_location(seaweed, bucket="absent")), act)
    assert "no bucket absent" in error.what and not error.retryable


@pytest.mark.parametrize("act", _ACTS.values(), ids=_ACTS)
@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("AWS_SECRET_ACCESS_KEY", "wrong-secret", "secret key"),
        ("AWS_ACCESS_KEY_ID", "nobody", "access key"),
    ],
)
def test_wrong_keys(seaweed, keys, monkeypatch, act, variable, value, words):
    """A wrong key is said to be wrong, by every operation, and not tried again."""
    monkeypatch.setenv(variable, value)
    error = _failure(S3Storage(_location(seaweed)), act)
    assert words in error.what and "AWS_SECRET_ACCESS_KEY" in error.hint and not error.retryable


def test_access_denied(seaweed, keys, monkeypatch):
    """A key that may only read is told which rights it lacks, and can read."""
    at = _location(seaweed)
    S3Storage(at).put("x", [b"1"])
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", READER_ACCESS_KEY)
    reader = S3Storage(at)
    assert reader.get("x") == b"1"
    for act in (lambda storage: storage.put("y", [b"1"]), lambda storage: storage.delete("x")):
        error = _failure(reader, act)
        assert "denied" in error.what and "s3:PutObject" in error.hint and not error.retryable


def test_no_keys_at_all(seaweed, keys, monkeypatch):
    """Without keys in the environment nothing is tried."""
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(StorageError, match="no access key") as caught:
        S3Storage(_location(seaweed))
    assert "AWS_ACCESS_KEY_ID" in caught.value.hint


@pytest.mark.parametrize("act", _ACTS.values(), ids=_ACTS)
def test_nobody_listens(seaweed, keys, act):
    """A refused connection may pass."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{closed.getsockname()[1]}"
        error = _failure(S3Storage(_location(seaweed, endpoint=endpoint)), act)
    assert endpoint in error.what and "refuses" in error.what and error.retryable


def test_unknown_host(seaweed, keys):
    """A name that cannot be resolved may pass: the network may be down."""
    error = _failure(S3Storage(_location(seaweed, endpoint="http://backstay.invalid")), _ACTS["get"])
    assert "name" in error.what and error.retryable


def test_not_tls(seaweed, keys):
    """https to a server without TLS is said to be that."""
    at = _location(seaweed, endpoint=seaweed.endpoint.replace("http", "https"))
    error = _failure(S3Storage(at), _ACTS["get"])
    assert "TLS" in error.what and "http://" in error.hint and not error.retryable


@pytest.mark.parametrize("act", [_ACTS["get"], _ACTS["put"]])
def test_silence(seaweed, keys, act):
    """A server that accepts and never answers is given up after the patience, and may be tried again."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        started = time.monotonic()
        error = _failure(S3Storage(_location(seaweed, endpoint=endpoint), patience=0.4), act)
    assert "in time" in error.what and error.retryable
    assert time.monotonic() - started < 3


class _Proxy:
    """Passes HTTP on to a server, one request a connection, and swallows as many answers as it is told."""

    def __init__(self, endpoint):
        host, _, port = endpoint.removeprefix("http://").partition(":")
        self._target = (host, int(port))
        self.swallow_answers = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self):
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        server = socket.create_connection(self._target)
        threading.Thread(target=self._answer, args=(server, client), daemon=True).start()
        try:
            while chunk := client.recv(1 << 16):
                server.sendall(chunk)
        except OSError:
            pass

    def _answer(self, server, client):
        try:
            while chunk := server.recv(1 << 16):
                if self.swallow_answers and not chunk.startswith(b"HTTP/1.1 100"):
                    self.swallow_answers -= 1
                    break
                client.sendall(chunk)
        except OSError:
            pass
        for one in (client, server):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
