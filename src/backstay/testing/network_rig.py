"""A network of our own: a namespace joined to this one by a pair of interfaces, whose link can be cut.

See ip-netns(8) and veth(4). Needs root, and a kernel that permits it.
"""

import contextlib
import os
import select
import shutil
import socket
import subprocess
import threading
from types import TracebackType
from typing import Self


class NoNetworks(Exception):
    """Namespaces cannot be made here; the message says why."""


def _run(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NoNetworks(f"{' '.join(words)}: {done.stderr.strip()}")


class CutOff:
    """A namespace with one link to this machine.

    Attributes:
        here: our address on the link.
        inside: words before a command that is to run in the namespace.
    """

    def __init__(self) -> None:
        number = os.getpid() % 16000
        self._name = f"backstay-{number}"
        self._ours = f"bs{number}"
        self._net = f"10.{200 + number // 4096}.{number // 16 % 256}"
        self._base = number % 16 * 16
        self.here = f"{self._net}.{self._base + 1}"
        self.inside = ["ip", "netns", "exec", self._name]

    def __enter__(self) -> Self:
        if os.geteuid() != 0:
            raise NoNetworks("only root makes network namespaces")
        if not shutil.which("ip"):
            raise NoNetworks("the tool ip (Debian: iproute2) is not installed")
        _run("ip", "netns", "add", self._name)
        try:
            theirs = f"{self._ours}p"
            _run("ip", "link", "add", self._ours, "type", "veth", "peer", "name", theirs)
            _run("ip", "link", "set", theirs, "netns", self._name)
            _run("ip", "address", "add", f"{self.here}/28", "dev", self._ours)
            _run("ip", "link", "set", self._ours, "up")
            _run(*self.inside, "ip", "address", "add", f"{self._net}.{self._base + 2}/28", "dev", theirs)
            _run(*self.inside, "ip", "link", "set", theirs, "up")
            _run(*self.inside, "ip", "link", "set", "lo", "up")
        except NoNetworks:
            self._remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._remove()

    def _remove(self) -> None:
        for words in (["ip", "link", "delete", self._ours], ["ip", "netns", "delete", self._name]):
            subprocess.run(words, capture_output=True, check=False)

    def cut(self) -> None:
        """Nothing passes any more; nobody is told."""
        _run("ip", "link", "set", self._ours, "down")

    def mend(self) -> None:
        """As it was."""
        _run("ip", "link", "set", self._ours, "up")


class ConnectProxy:
    """A plain HTTP proxy that does nothing but CONNECT (RFC 9110, 9.3.6).

    Attributes:
        url: its address.
        asked: the targets that clients wanted to be connected with.
    """

    def __init__(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self.asked: list[str] = []

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listening.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            head = b""
            while b"\r\n\r\n" not in head:
                piece = client.recv(4096)
                if not piece:
                    return
                head += piece
            method, target, _ = head.split(b" ", 2)
            if method != b"CONNECT":
                client.sendall(b"HTTP/1.1 405 Method Not Allowed\r\ncontent-length: 0\r\n\r\n")
                return
            self.asked.append(target.decode())
            host, _, port = target.decode().rpartition(":")
            with socket.create_connection((host, int(port))) as server:
                client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                _join(client, server)


def _join(client: socket.socket, server: socket.socket) -> None:
    other = {client: server, server: client}
    while True:
        for ready in select.select(list(other), [], [])[0]:
            data = ready.recv(1 << 16)
            if not data:
                return
            other[ready].sendall(data)
