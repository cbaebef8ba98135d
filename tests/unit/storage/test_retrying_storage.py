import pytest

from backstay.domain.errors import Cancelled, ObjectExists, ObjectNotFound, StorageFull, StorageUnavailable
from backstay.storage.retrying import RetryingStorage
from backstay.testing.faulty_storage import FaultyStorage
from backstay.testing.memory_storage import MemoryStorage


def over(script: str, **arguments) -> tuple[RetryingStorage, FaultyStorage, list]:
    """A retrying storage over a faulty one, and the list of delays that it slept."""
    faulty = FaultyStorage(MemoryStorage(), script)
    slept: list[float] = []
    return RetryingStorage(faulty, sleep=slept.append, **arguments), faulty, slept


def test_waits_longer_each_time():
    """Delays double up to the longest, and chance shortens each by up to half."""
    storage, faulty, slept = over("EEEEE", attempts=6, first_delay=1, longest_delay=5, chance=lambda: 1.0)
    storage.put("x", [b"1"])
    assert slept == [1, 2, 4, 5, 5]
    assert faulty.counts["put"] == 6
    storage, _, slept = over("EE", first_delay=1, chance=lambda: 0.0)
    storage.put("x", [b"1"])
    assert slept == [0.5, 1]


def test_gives_up_after_the_last_attempt():
    """The last error comes out as it is, after exactly the attempts allowed and no wait after the last."""
    storage, faulty, slept = over("(E)", attempts=3)
    with pytest.raises(StorageUnavailable):
        storage.get("x")
    assert faulty.counts["get"] == 3
    assert len(slept) == 2


@pytest.mark.parametrize(("script", "kind"), [("F", StorageFull), (".", ObjectExists)])
def test_what_cannot_pass_is_not_repeated(script, kind):
    """A full disk or a conflict is told at once."""
    storage, faulty, slept = over("." + script)
    storage.put("taken", [b"1"])
    with pytest.raises(kind):
        storage.put("taken", [b"2"])
    assert faulty.counts["put"] == 2
    assert slept == []
    with pytest.raises(ObjectNotFound):
        storage.get("absent")


def test_tells_of_every_retry():
    """Each wait is announced with what failed, how often, why, and for how long."""
    told = []
    storage, _, slept = over(".E.LL", on_retry=told.append)
    for name in ("a", "b", "c"):
        storage.put(name, [b"1"])
    assert [(retry.operation, retry.name, retry.attempt) for retry in told] == [
        ("put", "b", 1),
        ("put", "c", 1),
        ("put", "c", 2),
    ]
    assert [retry.delay for retry in told] == slept
    assert all(retry.error.retryable for retry in told)


def test_listing_goes_on():
    """A listing that breaks off again and again gives every object once, for as long as it gets further."""
    storage, faulty, _ = over("." * 9 + "SL.", attempts=2)
    for number in range(9):
        storage.put(f"p/{number}", [b"1"])
    names = [info.name for info in storage.list("p/")]
    assert sorted(names) == [f"p/{number}" for number in range(9)]
    assert faulty.faults == {"S": 1, "L": 1}


def test_listing_gives_up():
    """A listing that gets no further fails after the attempts allowed."""
    storage, faulty, _ = over(".(S)", attempts=4)
    storage.put("p/x", [b"1"])
    with pytest.raises(StorageUnavailable):
        list(storage.list(""))
    assert faulty.counts["list"] == 4


def test_sleep_can_cancel():
    """What `sleep` raises ends the retries: so a job is cancelled in the middle of a wait."""

    def sleep(_: float) -> None:
        raise Cancelled("the job was cancelled")

    storage = RetryingStorage(FaultyStorage(MemoryStorage(), "(E)"), sleep=sleep)
    with pytest.raises(Cancelled):
        storage.sync()


def test_patience_is_one_for_all_operations():
    """It counts from the first failure, ends every operation alike, and a success begins it anew."""
    now = [0.0]

    def sleep(seconds):
        now[0] += seconds

    faulty = FaultyStorage(MemoryStorage(), "EE.(E)")
    storage = RetryingStorage(
        faulty,
        1 << 30,
        first_delay=4,
        longest_delay=4,
        sleep=sleep,
        chance=lambda: 1.0,
        patience=10,
        clock=lambda: now[0],
    )
    storage.put("x", [b"1"])
    assert now == [8.0]
    with pytest.raises(StorageUnavailable):
        storage.get("x")
    assert now == [20.0]
    with pytest.raises(StorageUnavailable):
        storage.size("x")
    assert now == [20.0]
