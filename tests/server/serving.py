"""A server that listens, for tests that talk to one over TLS."""

import threading
import time
from collections.abc import MutableMapping
from pathlib import Path

import structlog
import uvicorn
from tests.server.conftest import MovableClock

from backstay.server.app import create_app, open_control
from backstay.server.control import Control
from backstay.server.settings import ServerSettings
from backstay.server.tls import certificate_files, fingerprint_of


def _drop(logger: object, method: str, event: MutableMapping[str, object]) -> str:
    raise structlog.DropEvent


class Serving:
    """A server that listens on a port of its own, with a certificate that it made itself."""

    def __init__(self, folder: Path) -> None:
        # In the tests' own process: its log must not be taken for a command's output.
        self._logging = structlog.get_config()
        structlog.configure(processors=[_drop])
        settings = ServerSettings(
            folder=folder, host="127.0.0.1", public_url="https://localhost", background=False
        )
        self.control: Control = open_control(settings, clock=MovableClock())
        self.fingerprint = fingerprint_of(settings)
        files = certificate_files(settings)
        assert files is not None
        config = uvicorn.Config(
            create_app(self.control),
            host="127.0.0.1",
            port=0,
            log_level="critical",
            ssl_certfile=str(files[0]),
            ssl_keyfile=str(files[1]),
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run)
        self._thread.start()
        while not self._server.started:
            time.sleep(0.01)
        port = self._server.servers[0].sockets[0].getsockname()[1]
        self.url = f"https://127.0.0.1:{port}"

    def close(self) -> None:
        """End it."""
        self._server.should_exit = True
        self._thread.join()
        self.control.database.close()
        structlog.configure(**self._logging)
