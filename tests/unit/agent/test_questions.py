"""Questions of several threads in one request: each gets its own answer, or the error."""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from backstay.agent.questions import Questions
from backstay.domain.errors import StorageUnavailable


def test_threads_that_ask_at_one_time_share_requests_and_get_their_own_answers() -> None:
    """Hundreds of questions of six threads: far fewer requests, each answer at its place."""
    asked: list[int] = []

    def ask(ids: Sequence[bytes]) -> Sequence[bool]:
        asked.append(len(ids))
        return [blob[0] % 3 == 0 for blob in ids]

    questions = Questions(ask)

    def one(number: int) -> bool:
        ids = [bytes([(number + step) % 256]) * 32 for step in range(number % 5)]
        return questions.ask(ids) == [blob[0] % 3 == 0 for blob in ids]

    with ThreadPoolExecutor(6) as threads:
        assert all(threads.map(one, range(400)))
    assert sum(asked) == sum(number % 5 for number in range(400))
    assert len(asked) < 250


def test_an_error_reaches_every_thread_that_waited_and_no_later_one() -> None:
    """All that shared the failed request raise; the next question is answered."""
    fails = threading.Event()
    fails.set()

    def ask(ids: Sequence[bytes]) -> Sequence[bool]:
        if fails.is_set():
            raise StorageUnavailable("the server is away")
        return [True] * len(ids)

    questions = Questions(ask)
    with ThreadPoolExecutor(4) as threads:
        for future in [threads.submit(questions.ask, [bytes(32)]) for _ in range(4)]:
            with pytest.raises(StorageUnavailable):
                future.result()
    fails.clear()
    assert list(questions.ask([bytes(32)])) == [True]
