"""Runs one server process: opens what it needs, listens, and answers until it is told to stop."""

import os
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import FrameType
from urllib.parse import urlsplit
from zoneinfo import available_timezones

import structlog
import uvicorn

from backstay.domain.errors import ServerError
from backstay.server import first_start
from backstay.server.administrators import setup_code
from backstay.server.app import create_app, open_control
from backstay.server.control import Control
from backstay.server.settings import ServerSettings
from backstay.server.tls import certificate_files

_log = structlog.get_logger()

_GRACE_SECONDS = 4
"""Who waits is answered at once. Who is in the middle of sending is cut off then, and sends it again."""
_KEEP_ALIVE_SECONDS = 65
"""Longer than clients keep a connection that they do not use (5 s agents, 60 s proxies): whoever uses one
again must not find that the server closed it in the same moment."""
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
        first_start.settle_in(control, settings.time_zone or local_time_zone())
        files = certificate_files(settings)
        ready(control)
        config = uvicorn.Config(
            create_app(control),
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=True,
            proxy_headers=bool(settings.trusted_proxies),
            forwarded_allow_ips=list(settings.trusted_proxies),
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=_GRACE_SECONDS,
            ssl_certfile=files[0] if files else None,
            ssl_keyfile=files[1] if files else None,
        )
        _tell_setup_code(control)
        # uvicorn ends in order at a signal, and raises it again when it has ended.
        with suppress(KeyboardInterrupt):
            _Server(config, control).run(sockets=[listening])
    finally:
        listening.close()


def _tell_setup_code(control: Control) -> None:
    code = setup_code(control)
    if code is not None:
        _log.warning("the server has no administrator yet: make the first one", set_up_code=code)


class _Server(uvicorn.Server):
    """Tells those who wait in this process that it is about to end."""

    def __init__(self, config: uvicorn.Config, control: Control) -> None:
        super().__init__(config)
        self._control = control

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._control.stopping.set()
        self._control.wakeups.wake()
        super().handle_exit(sig, frame)


def local_time_zone() -> str:
    """IANA name of this machine's time zone: TZ, or where /etc/localtime leads (localtime(5)); or UTC."""
    candidates = [os.environ.get("TZ", ""), str(Path("/etc/localtime").resolve()).partition("/zoneinfo/")[2]]
    for name in candidates:
        if name and name in available_timezones():
            return name
    return "UTC"


def is_free(host: str, port: int) -> bool:
    """Whether nobody listens at an address."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True


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
