"""Messages between a server process and its worker process, over two pipes.

A message is a msgpack map behind its length, four bytes, big-endian.
"""

import threading
from collections.abc import Mapping
from typing import IO, Any

import msgspec

_LENGTH_BYTES = 4


class Channel:
    """One end. `send` may be called from several threads, `receive` from one."""

    def __init__(self, incoming: IO[bytes], outgoing: IO[bytes]) -> None:
        self._incoming = incoming
        self._outgoing = outgoing
        self._sending = threading.Lock()

    def send(self, kind: str, **fields: Any) -> bool:
        """Send a message; False where nobody is at the other end any more."""
        data = msgspec.msgpack.encode({"kind": kind, **fields})
        try:
            with self._sending:
                self._outgoing.write(len(data).to_bytes(_LENGTH_BYTES, "big") + data)
                self._outgoing.flush()
        except (OSError, ValueError):
            return False
        return True

    def receive(self) -> Mapping[str, Any] | None:
        """The next message, or None where the other end is gone."""
        try:
            head = self._incoming.read(_LENGTH_BYTES)
            length = int.from_bytes(head, "big")
            data = self._incoming.read(length) if len(head) == _LENGTH_BYTES else b""
        except (OSError, ValueError):
            return None
        if len(head) < _LENGTH_BYTES or len(data) < length:
            return None
        message: Mapping[str, Any] = msgspec.msgpack.decode(data)
        return message

    def close(self) -> None:
        """Say to the other end that nothing more comes."""
        with self._sending:
            try:
                self._outgoing.close()
            except OSError:
                return
