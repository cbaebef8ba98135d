"""Real receivers of notifications, on the loopback address."""

import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes
from email.policy import default
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword

from backstay.testing.channel_suite import SECRET, Receiver


class HttpReceiver(Receiver):
    """Takes JSON by POST.

    Attributes:
        requests: path, headers and body of each that was taken.
    """

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self.port = 0


@contextmanager
def http_receiver() -> Iterator[HttpReceiver]:
    """A running HTTP server."""
    receiver = HttpReceiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            """As http.server asks it."""
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            refused = receiver.refusing
            if not refused:
                receiver.requests.append((self.path, dict(self.headers), body))
                receiver.taken.append(json.dumps(json.loads(body), ensure_ascii=False))
            self.send_response(503 if refused else 200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class MailReceiver(Receiver):
    """Takes mail from who logs in as `user` with SECRET.

    Attributes:
        recipients: of each mail that was taken.
    """

    user = "backstay"

    def __init__(self) -> None:
        super().__init__()
        self.recipients: list[list[str]] = []
        self.port = 0

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        """As aiosmtpd asks it."""
        if self.refusing:
            return "552 mailbox full"
        mail = message_from_bytes(envelope.content, policy=default)
        self.taken.append(f"{mail['Subject']}\n{mail.get_content()}")
        self.recipients.append(list(envelope.rcpt_tos))
        return "250 taken"

    def authenticate(self, server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
        """As aiosmtpd asks it."""
        right = isinstance(data, LoginPassword) and data.login == self.user.encode()
        return AuthResult(success=right and data.password == SECRET.encode(), handled=False)


class _AnyPort(Controller):
    """On a free port, which is known only when it listens."""

    def _trigger_server(self) -> None:
        server: Any = self.server
        self.port = server.sockets[0].getsockname()[1]
        super()._trigger_server()  # type: ignore[no-untyped-call]


@contextmanager
def mail_receiver(certificate: Path, key: Path, *, tls_at_once: bool) -> Iterator[MailReceiver]:
    """A running mail server that insists upon encryption."""
    receiver = MailReceiver()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    options: dict[str, Any] = {"ssl_context": context} if tls_at_once else {"require_starttls": True}
    if not tls_at_once:
        options["tls_context"] = context
    controller = _AnyPort(
        receiver,
        hostname="127.0.0.1",
        port=0,
        authenticator=receiver.authenticate,
        auth_required=True,
        auth_require_tls=not tls_at_once,
        **options,
    )
    controller.start()
    receiver.port = controller.port
    try:
        yield receiver
    finally:
        controller.stop()
