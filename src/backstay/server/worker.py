"""The worker process: does heavy work on a repository, at low priority, and never sees the database.

`python -m backstay.server.worker` reads one `start` message on standard input, and answers on standard
output with progress, questions, and at last `done` or `failed`. When the server process dies its pipe
closes: the work then stops at the next touch of the storage, as it does when it is cancelled.
"""

import os
import queue
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from backstay.domain.errors import BackstayError, Cancelled
from backstay.repository.keys import Secrets
from backstay.repository.repository import Repository
from backstay.server.worker_channel import Channel
from backstay.server.worker_storage import StoppableStorage
from backstay.storage.registry import open_storage


class Work:
    """What a task is given.

    Attributes:
        repository: opened; its storage raises Cancelled when the work is to stop.
        request: what exactly is asked for, by task.
    """

    def __init__(self, channel: Channel, start: Mapping[str, Any]) -> None:
        self._channel = channel
        self._answers: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._stop = threading.Event()
        self._why = ""
        self.request: Mapping[str, Any] = start["request"]
        storage = StoppableStorage(open_storage(start["location"]), self.check, self._announce)
        self.repository = Repository.open_with(storage, _secrets(start), cache=Path(start["cache"]))

    def listen(self) -> None:
        """Take in answers, and the wish to stop, until the other end is gone."""
        while (message := self._channel.receive()) is not None:
            if message["kind"] == "cancel":
                self.stop(message["reason"])
            else:
                self._answers.put(message["value"])
        self.stop("the server process that ran it is gone")

    def stop(self, why: str) -> None:
        """Have the work stop at its next touch of the storage."""
        self._why = self._why or why
        self._stop.set()
        self._answers.put(None)

    def check(self) -> None:
        """Raises Cancelled where the work is to stop."""
        if self._stop.is_set():
            raise Cancelled(self._why)

    def _announce(self, name: str, size: int) -> None:
        self.ask("pack", [name.rpartition("/")[2], size])

    def progress(self, step: str, done: int = 0, total: int = 0) -> None:
        """Say how far the work is, in bytes. Raises Cancelled."""
        self.check()
        self._channel.send("progress", step=step, done=done, total=total)

    def tell(self, text: str) -> None:
        """A line for the job's log. Raises Cancelled."""
        self.check()
        self._channel.send("message", text=text)

    def ask(self, question: str, value: Any) -> Any:
        """The server's answer to a question. Raises Cancelled."""
        self._channel.send("ask", question=question, value=value)
        answer = self._answers.get()
        self.check()
        return answer


def _secrets(start: Mapping[str, Any]) -> Secrets:
    keys = start["keys"]
    return Secrets(keys["repository"], keys["id"], keys["catalogue"], keys["public"], tuple(keys["private"]))


def keys_of(secrets: Secrets) -> dict[str, Any]:
    """The keys that a worker needs, as its `start` message carries them."""
    return {
        "repository": secrets.repository_id,
        "id": secrets.id_key,
        "catalogue": secrets.catalogue_key,
        "public": secrets.public_key,
        "private": list(secrets.private_keys),
    }


def _lower_priority(nice: int) -> None:
    with suppress(OSError, AttributeError):
        os.nice(nice)


def main() -> int:
    """One piece of work. Returns the exit code."""
    # Whatever prints must not print among the messages.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    channel = Channel(sys.stdin.buffer, answers)
    start = channel.receive()
    if start is None:
        return 1
    _lower_priority(start["nice"])
    try:
        from backstay.server.worker_tasks import TASKS

        work = Work(channel, start)
        threading.Thread(target=work.listen, name="listen", daemon=True).start()
        result = TASKS[start["task"]](work)
        channel.send("done", result=result)
    except Cancelled as error:
        channel.send("cancelled", reason=error.what)
    except BackstayError as error:
        channel.send(
            "failed",
            what=error.what,
            hint=error.hint,
            error=type(error).__name__,
            retryable=error.retryable,
        )
    return 0


if __name__ == "__main__":
    # A thread still waits for input, which an orderly exit would wait for in turn.
    os._exit(main())
