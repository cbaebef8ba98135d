import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from backstay.storage.throttled import Throttle, ThrottledStorage
from backstay.testing.memory_storage import MemoryStorage


class Clock:
    """Time that passes only by sleeping."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """Seconds."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Let `seconds` pass."""
        assert seconds > 0
        self.now += seconds


def throttled(limit, burst: float = 0.0) -> tuple[ThrottledStorage, Clock]:
    """A throttled storage in memory and its clock."""
    clock = Clock()
    return ThrottledStorage(
        MemoryStorage(), Throttle(limit, burst=burst, clock=clock, sleep=clock.sleep)
    ), clock


def test_keeps_to_the_limit():
    """Bytes put and bytes got take their time together."""
    storage, clock = throttled(lambda: 1000)
    storage.put("x", [bytes(3000), bytes(500)])
    assert clock.now == pytest.approx(1003.5)
    storage.get("x", 1000)
    assert clock.now == pytest.approx(1006.0)


def test_other_operations_are_free():
    """What moves no content takes no time."""
    storage, clock = throttled(lambda: 1)
    storage.put("x", [])
    storage.sync()
    assert storage.exists("x")
    assert [info.name for info in storage.list("")] == ["x"]
    storage.delete("x")
    assert clock.now == 1000.0


def test_burst():
    """Unused allowance is saved up to the burst, and no further."""
    storage, clock = throttled(lambda: 1000, burst=2.0)
    storage.put("a", [bytes(2000)])
    assert clock.now == pytest.approx(1000.0)
    clock.sleep(3600)
    storage.put("b", [bytes(3000)])
    assert clock.now == pytest.approx(4601.0)


def test_no_limit():
    """None lets everything pass at once."""
    storage, clock = throttled(lambda: None)
    storage.put("x", [bytes(10_000_000)])
    assert clock.now == 1000.0


def test_limit_of_the_hour():
    """A limit that changes in the middle of an object holds from then on."""
    clock = Clock()
    throttle = Throttle(lambda: 1000 if clock.now < 1010 else None, burst=0.0, clock=clock, sleep=clock.sleep)
    throttle.spend(50_000)
    assert clock.now == pytest.approx(1010.0, abs=0.11)


def test_zero_waits_for_better_times():
    """A limit of zero stops everything until it is raised."""
    clock = Clock()
    throttle = Throttle(lambda: 0 if clock.now < 1060 else 500, burst=0.0, clock=clock, sleep=clock.sleep)
    throttle.spend(500)
    assert clock.now == pytest.approx(1061.0)


def test_tiny_limit_and_odd_sizes():
    """Even one byte a second is kept, and fractions of it."""
    storage, clock = throttled(lambda: 0.5)
    storage.put("x", [b"123"])
    assert clock.now == pytest.approx(1006.0)


def test_threads_share_fairly():
    """A small object does not wait for all of a large one that began before."""
    throttle = Throttle(lambda: 1_000_000, burst=0.0)
    storage = ThrottledStorage(MemoryStorage(), throttle)
    begun = threading.Event()
    done: dict[str, float] = {}

    def put(name: str, size: int) -> None:
        begun.set()
        storage.put(name, [bytes(size)])
        done[name] = time.monotonic()

    start = time.monotonic()
    with ThreadPoolExecutor(2) as pool:
        large = pool.submit(put, "large", 1_000_000)
        begun.wait()
        small = pool.submit(put, "small", 50_000)
        large.result()
        small.result()
    assert done["small"] < start + (done["large"] - start) / 2
    assert done["large"] - start >= 1.0
