import pytest

from backstay.domain.errors import StorageError, StorageFull, StorageUnavailable
from backstay.testing.faulty_storage import FaultyStorage
from backstay.testing.memory_storage import MemoryStorage


def outcomes(storage: FaultyStorage, count: int) -> str:
    """`count` puts of new names: `+` where it returned, and `!` where it failed but is there, else `-`."""
    result = ""
    for number in range(count):
        name = f"{storage.counts['put']}-{number}"
        try:
            storage.put(name, [b"12"])
            result += "+"
        except StorageError:
            result += "!" if storage.inner.exists(name) else "-"
    return result


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("", "++++++++"),
        ("..E", "++-+++++"),
        ("L.S", "!+-+++++"),
        ("(.E)", "+-+-+-+-"),
        (".(E)", "+-------"),
        ("..X", "++------"),
        ("F(.FL)", "-+-!+-!+"),
        ("w.w", "++++++++"),
    ],
)
def test_scripts(script, expected):
    """Every letter does what it says, in its turn, and the parentheses repeat."""
    assert outcomes(FaultyStorage(MemoryStorage(), script, sleep=lambda seconds: None), 8) == expected


def test_kinds_of_errors():
    """E, L and S may pass; a full disk and a vanished storage do not."""
    storage = FaultyStorage(MemoryStorage(), "ELSFX")
    for kind in (StorageUnavailable, StorageUnavailable, StorageUnavailable, StorageFull, StorageError):
        with pytest.raises(kind) as caught:
            storage.put("x", [b"1"])
        assert type(caught.value) is kind
    assert storage.faults == dict.fromkeys("ELSFX", 1)


def test_vanished_is_for_good():
    """After X no operation works, whether the script counts it or not."""
    storage = FaultyStorage(MemoryStorage(), "X", operations={"put"})
    assert not storage.exists("x")
    with pytest.raises(StorageError):
        storage.put("x", [b"1"])
    for attempt in (
        storage.sync,
        storage.free_bytes,
        lambda: storage.get("x"),
        lambda: storage.size("x"),
        lambda: storage.exists("x"),
        lambda: list(storage.list("")),
        lambda: storage.delete("x"),
        lambda: storage.secure("x"),
    ):
        with pytest.raises(StorageError, match="vanished"):
            attempt()
    assert sum(storage.counts.values()) == 10


def test_only_the_operations_named():
    """Letters are used up by the operations that were named; all are counted."""
    storage = FaultyStorage(MemoryStorage(), ".E", operations={"get"})
    storage.put("x", [b"1"])
    storage.put("y", [b"1"])
    assert storage.get("x") == b"1"
    assert storage.exists("x")
    with pytest.raises(StorageUnavailable):
        storage.get("x")
    assert storage.counts == {"put": 2, "get": 2, "exists": 1}


def test_slow():
    """w sleeps for the delay and works."""
    slept: list[float] = []
    storage = FaultyStorage(MemoryStorage(), "w", delay=3.0, sleep=slept.append)
    storage.put("x", [b"1"])
    assert slept == [3.0]
    assert storage.exists("x")


@pytest.mark.parametrize("script", ["?", "E(.", "(.)E", "()", "e"])
def test_bad_scripts(script):
    """A script that cannot be read is refused, not guessed at."""
    with pytest.raises(ValueError, match="script"):
        FaultyStorage(MemoryStorage(), script)
