"""Puts questions of several threads together: a request costs both sides more than what is asked in it.

A packer's threads ask frame by frame which blobs are stored (packer.AskStored). Whoever asks first waits for
others a little while, then asks for all.
"""

import threading
import time
from collections.abc import Sequence

from backstay.repository.packer import AskStored

_TOGETHER = 4
"""As many threads of a packer wait for answers while the others use the processors."""

_WAIT_SECONDS = 0.01
_MOST_IDS = 32_768


class _Batch:
    """Questions that share a request: their ids, and what came of it."""

    def __init__(self) -> None:
        self.ids: list[bytes] = []
        self.questions = 0
        self.answered = threading.Event()
        self.answers: Sequence[bool] = ()
        self.failure: BaseException | None = None


class Questions:
    """Asks for several threads at once. Safe to use from several threads.

    Args:
        ask: answers, for each id.
    """

    def __init__(self, ask: AskStored) -> None:
        self._ask = ask
        self._changed = threading.Condition()
        self._open: _Batch | None = None

    def ask(self, ids: Sequence[bytes]) -> Sequence[bool]:
        """As `ask` answers; raises what it raises, in every thread whose question was in the request."""
        with self._changed:
            batch, is_first = self._open, False
            if batch is None or len(batch.ids) + len(ids) > _MOST_IDS:
                batch, is_first = _Batch(), True
                self._open = batch
            first = len(batch.ids)
            batch.ids += ids
            batch.questions += 1
            if batch.questions == _TOGETHER:
                self._changed.notify_all()
        if is_first:
            self._answer(batch)
        else:
            batch.answered.wait()
        if batch.failure is not None:
            raise batch.failure
        return batch.answers[first : first + len(ids)]

    def _answer(self, batch: _Batch) -> None:
        with self._changed:
            ends = time.monotonic() + _WAIT_SECONDS
            while batch.questions < _TOGETHER and (left := ends - time.monotonic()) > 0:
                self._changed.wait(left)
            if self._open is batch:
                self._open = None
        try:
            batch.answers = self._ask(batch.ids)
        except BaseException as error:  # noqa: BLE001
            # Every thread that waits has to hear of it, whatever it is.
            batch.failure = error
        finally:
            batch.answered.set()
