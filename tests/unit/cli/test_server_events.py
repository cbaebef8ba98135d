"""Server-sent events as the command line reads them."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from backstay.cli.server_client import ServerClient, ServerEvent
from backstay.domain.errors import ServerUnreachable


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    stream = b""
    whole = True

    def do_GET(self) -> None:
        """Send the stream, and break off where it is not to be whole."""
        last = self.headers.get("Last-Event-ID", "")
        data = self.stream + (f'data: "{last}"\n\n'.encode() if last else b"")
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.send_header("Content-Length", str(len(data) + (0 if self.whole else 10)))
        self.end_headers()
        self.wfile.write(data)
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def served() -> Iterator[tuple[str, type[_Handler]]]:
    """A web server that sends `stream`."""
    handler = type("Handler", (_Handler,), {})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", handler
    server.shutdown()
    server.server_close()
    thread.join()


def test_events_are_read_as_the_standard_says(served: tuple[str, type[_Handler]]) -> None:
    """Comments are passed over, data of several lines is put together, ids stay until the next."""
    url, handler = served
    handler.stream = b': hello\n\nid: 7\nevent: step\ndata: {"a":\ndata: 1}\n\nevent: idle\n\ndata: 2\n\n'
    with ServerClient(url) as client:
        assert list(client.events("/x")) == [
            ServerEvent("step", {"a": 1}, "7"),
            ServerEvent("message", 2, "7"),
        ]
        assert list(client.events("/x", last_id="9"))[-1] == ServerEvent("message", "9", "7")


def test_a_lost_connection_is_said(served: tuple[str, type[_Handler]]) -> None:
    """A stream that breaks off gives what came, then ServerUnreachable: it has not ended."""
    url, handler = served
    handler.stream, handler.whole = b"data: 1\n\n", False
    with ServerClient(url) as client:
        events = client.events("/x")
        assert next(events).data == 1
        with pytest.raises(ServerUnreachable):
            next(events)
