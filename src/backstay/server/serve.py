"""Runs one server process: opens what it needs, listens, and answers until it is told to stop."""

import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from types import FrameType
from urllib.parse import urlsplit

import uvicorn

from backstay.domain.errors import ServerError
from backstay.server.app import create_app, open_control
from backstay.server.control import Control
from backstay.server.settings import ServerSettings
from backstay.server.tls import certificate_files

_GRACE_SECONDS = 10
_LOOPBACK = {"127.0.0.1", "::1", "localhost"}


def serve(settings: ServerSettings, *, ready: Callable[[Control], None] = lambda control: None) -> None:
    """Serve until SIGTERM or SIGINT.

    Args:
        ready: called when the address is taken and the control opened, before the first answer.

    Raises:
        ServerError: the address cannot be had, or the database cannot be used.
        StorageError, RepositoryError, UsageError.
    """
    listening = _listen(settings)
    settings = replace(settings, public_url=settings.public_url or _url(settings, listening))
    try:
        control = open_control(settings)
        control.repositories.ensure_first(
            settings.storage_location, control.clock(), data_path=settings.data_path
        )
        files = certificate_files(settings)
        config = uvicorn.Config(
            create_app(control),
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=True,
            proxy_headers=bool(settings.trusted_proxies),
            forwarded_allow_ips=list(settings.trusted_proxies),
            timeout_graceful_shutdown=_GRACE_SECONDS,
            ssl_certfile=files[0] if files else None,
            ssl_keyfile=files[1] if files else None,
        )
        ready(control)
        # uvicorn ends in order at a signal, and raises it again when it has ended.
        with suppress(KeyboardInterrupt):
            _Server(config, control).run(sockets=[listening])
    finally:
        listening.close()


class _Server(uvicorn.Server):
    """Answers the questions that it holds open when it is told to stop."""

    def __init__(self, config: uvicorn.Config, control: Control) -> None:
        super().__init__(config)
        self._control = control

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """At a signal."""
        self._control.ending.set()
        super().handle_exit(sig, frame)


def _listen(settings: ServerSettings) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
        listening = socket.socket(family, socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((settings.host, settings.port))
        listening.listen(2048)
    except OSError as error:
        raise ServerError(
            f"the server cannot listen at {settings.host}, port {settings.port}: {error.strerror}",
            hint="choose another address with --host and --port, or stop whoever has it",
        ) from error
    return listening


def _url(settings: ServerSettings, listening: socket.socket) -> str:
    port = listening.getsockname()[1]
    scheme = "http" if settings.tls == "off" else "https"
    host = settings.host if settings.host in _LOOPBACK else socket.gethostname()
    return urlsplit(f"{scheme}://{host}:{port}").geturl()
