"""A server's end of a worker process: starts it, answers it, and ends it."""

import contextlib
import queue
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from backstay.repository.repository import Repository
from backstay.server.worker import keys_of
from backstay.server.worker_channel import Channel

_ENDS_WITHIN = 20.0
"""Seconds that a worker has to stop of itself."""


class WorkerProcess:
    """One worker process with one task. Use it as a context manager.

    Args:
        repository: what it works on; it opens it for itself.
        task: one of worker_tasks.TASKS.
        nice: by how much its priority is lower.
    """

    def __init__(
        self,
        repository: Repository,
        location: str,
        cache: Path,
        task: str,
        request: Mapping[str, Any],
        *,
        nice: int = 10,
    ) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "backstay.server.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # Ctrl-C is for the server, which then ends the worker.
            start_new_session=True,
        )
        assert self._process.stdin is not None and self._process.stdout is not None
        self._channel = Channel(self._process.stdout, self._process.stdin)
        self._messages: queue.SimpleQueue[Mapping[str, Any] | None] = queue.SimpleQueue()
        self._channel.send(
            "start",
            task=task,
            request=dict(request),
            location=location,
            cache=str(cache),
            keys=keys_of(repository.secrets),
            nice=nice,
        )
        threading.Thread(target=self._read, name=f"worker {self._process.pid}", daemon=True).start()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def _read(self) -> None:
        while (message := self._channel.receive()) is not None:
            self._messages.put(message)
        self._messages.put(None)

    def receive(self, seconds: float) -> Mapping[str, Any] | None:
        """Its next message; an empty one where none came in time, None when it has ended."""
        try:
            return self._messages.get(timeout=seconds)
        except queue.Empty:
            return {"kind": ""}

    def answer(self, value: Any) -> None:
        """Answer what it asked."""
        self._channel.send("answer", value=value)

    def cancel(self, reason: str) -> None:
        """Have it stop soon; it says `cancelled` when it does."""
        self._channel.send("cancel", reason=reason)

    def __enter__(self) -> "WorkerProcess":
        return self

    def __exit__(self, *_: object) -> None:
        self._channel.close()
        try:
            self._process.wait(_ENDS_WITHIN)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        with contextlib.suppress(OSError):
            if self._process.stdout is not None:
                self._process.stdout.close()
