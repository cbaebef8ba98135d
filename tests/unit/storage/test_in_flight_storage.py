"""Several packs under way at once: how many, in which order with what else is put, and what of failures."""

import os
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from backstay.backup.progress import Silent
from backstay.backup.workflow import BackupRequest, run_backup
from backstay.domain.errors import StorageFull
from backstay.repository.layout import INDEX, MANIFESTS
from backstay.repository.repository import Repository
from backstay.repository.verify import run_verify
from backstay.storage.in_flight import InFlightStorage
from backstay.storage.interface import Buffer
from backstay.testing.faulty_storage import FaultyStorage
from backstay.testing.memory_storage import MemoryStorage

PATIENCE = 20.0


class Gated(MemoryStorage):
    """Stores nothing until it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = threading.Semaphore(0)
        self.gate = threading.Event()

    def put(self, name: str, data: Sequence[Buffer]) -> None:
        """When the gate is open."""
        self.begun.release()
        assert self.gate.wait(PATIENCE)
        super().put(name, data)


@pytest.mark.parametrize("name", ["packs/cc/third", "index/run"])
def test_so_many_are_under_way_and_what_comes_after_waits(name: str) -> None:
    """Two puts of packs return before they are stored; a third, or a put of anything else, waits."""
    gated = Gated()
    storage = InFlightStorage(gated, 2)
    storage.put("packs/aa/first", [b"1"])
    storage.put("packs/bb/second", [b"2"])
    assert gated.begun.acquire(timeout=PATIENCE) and gated.begun.acquire(timeout=PATIENCE)
    later = threading.Thread(target=storage.put, args=(name, [b"3"]))
    later.start()
    assert not gated.begun.acquire(timeout=0.1)
    gated.gate.set()
    later.join(PATIENCE)
    storage.sync()
    assert {info.name for info in gated.list("")} == {"packs/aa/first", "packs/bb/second", name}


def test_a_pack_that_could_not_be_stored_stops_everything_after_it() -> None:
    """The error comes at the next sync or put, again and again, and nothing else is stored meanwhile."""
    inner = FaultyStorage(MemoryStorage(), "F", operations=("put",))
    storage = InFlightStorage(inner, 2)
    storage.put("packs/aa/first", [b"1"])
    for _ in range(2):
        with pytest.raises(StorageFull):
            storage.sync()
        with pytest.raises(StorageFull):
            storage.put("index/run", [b"2"])
        with pytest.raises(StorageFull):
            storage.put("packs/bb/second", [b"3"])
    assert list(inner.list("")) == []


@pytest.mark.parametrize("works", range(1, 5))
def test_a_backup_whose_pack_fails_commits_nothing_and_the_next_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, works: int
) -> None:
    """Whichever put fails, no index run or manifest names what is not there, and nothing is lost."""
    monkeypatch.setenv("BACKSTAY_STATE", str(tmp_path / "state"))
    memory = MemoryStorage()
    made, _ = Repository.create(memory, "passphrase", cache=tmp_path / "cache")
    source = tmp_path / "source"
    source.mkdir()
    for number in range(3):
        (source / f"{number}").write_bytes(os.urandom(15 << 20))
    request = BackupRequest([os.fsencode(source)])
    faulty = FaultyStorage(memory, "." * works + "(F)", operations=("put",))
    broken = Repository(InFlightStorage(faulty, 2), made.secrets, cache=tmp_path / "cache")
    with pytest.raises(StorageFull):
        run_backup(broken, request, Silent())
    assert list(memory.list(MANIFESTS)) == []
    if works < 3:
        assert list(memory.list(INDEX)) == []
    sound = Repository(InFlightStorage(memory, 2), made.secrets, cache=tmp_path / "cache")
    run_backup(sound, request, Silent())
    assert run_verify(Repository(memory, made.secrets, cache=tmp_path / "cache"), data_percent=100).intact
