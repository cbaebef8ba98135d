"""Every storage behaves as a dictionary does, in any order of operations; and what was synced survives."""

import tempfile
from random import Random

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from backstay.domain.errors import ObjectExists, ObjectNotFound
from backstay.storage.interface import Storage
from backstay.storage.local import LocalStorage
from backstay.storage.retrying import RetryingStorage
from backstay.testing.faulty_storage import FaultyStorage
from backstay.testing.memory_storage import MemoryStorage
from backstay.testing.power_cut_storage import PowerCutStorage

names = st.sampled_from(["a", "b", "p/a", "p/b", "p/q/a", "p.q/a", "pp/a", "p/q/r/s"])
wholes = st.binary(max_size=6)


def cut(whole: bytes, at: int) -> list[bytes]:
    """The bytes in two buffers."""
    return [whole[:at], whole[at:]]


class StorageMachine(RuleBasedStateMachine):
    """A storage beside the dictionary that it must resemble."""

    def __init__(self) -> None:
        super().__init__()
        self.storage = self.make()
        self.model: dict[str, bytes] = {}

    def make(self) -> Storage:
        """A new, empty storage."""
        return MemoryStorage()

    @rule(name=names, whole=wholes, at=st.integers(0, 6))
    def put(self, name, whole, at):
        """A put adds, or repeats, or is refused."""
        if self.model.setdefault(name, whole) == whole:
            self.storage.put(name, cut(whole, at))
        else:
            with pytest.raises(ObjectExists):
                self.storage.put(name, cut(whole, at))

    @rule(name=names)
    def delete(self, name):
        """A delete removes, or does nothing."""
        self.storage.delete(name)
        self.model.pop(name, None)

    @rule(name=names, offset=st.integers(0, 8), length=st.none() | st.integers(0, 8))
    def get(self, name, offset, length):
        """A get gives the range, or does not find the object."""
        if name in self.model:
            end = None if length is None else offset + length
            assert self.storage.get(name, offset, length) == self.model[name][offset:end]
        else:
            with pytest.raises(ObjectNotFound):
                self.storage.get(name, offset, length)

    @rule(name=names)
    def look(self, name):
        """Existence and size agree with the dictionary."""
        assert self.storage.exists(name) == (name in self.model)
        if name in self.model:
            assert self.storage.size(name) == len(self.model[name])

    @rule(prefix=st.sampled_from(["p/", "p/q/", "pp/", "z/", "a/"]))
    def list(self, prefix):
        """A listing gives what begins with the prefix."""
        expected = {(name, len(whole)) for name, whole in self.model.items() if name.startswith(prefix)}
        assert {info[:2] for info in self.storage.list(prefix)} == expected

    @rule()
    def sync(self):
        """A sync changes nothing that can be seen."""
        self.storage.sync()

    @invariant()
    def agrees(self):
        """All objects, each once."""
        infos = [info[:2] for info in self.storage.list("")]
        assert sorted(infos) == sorted((name, len(whole)) for name, whole in self.model.items())


class LocalMachine(StorageMachine):
    """A folder, reopened now and then."""

    def make(self) -> Storage:
        """In a new folder, removed at the end."""
        self.folder = tempfile.TemporaryDirectory()
        return LocalStorage(self.folder.name)

    def teardown(self) -> None:
        """Remove the folder."""
        self.folder.cleanup()

    @rule()
    def reopen(self):
        """Another process would see the same."""
        self.storage = LocalStorage(self.folder.name)


class RetryingMachine(StorageMachine):
    """A storage that fails by any script that lets one operation in four through, retried."""

    def make(self) -> Storage:
        """In memory."""
        return MemoryStorage()

    @initialize(script=st.text("ELS.", min_size=1, max_size=30))
    def fail(self, script):
        """Begin to fail."""
        faulty = FaultyStorage(self.storage, f"({script}.)")
        self.storage = RetryingStorage(faulty, attempts=100, sleep=lambda seconds: None)


class PowerCutMachine(StorageMachine):
    """A disk whose power is cut now and then: what was synced is there, what was not may be."""

    def __init__(self) -> None:
        super().__init__()
        self.synced: dict[str, bytes] = {}
        self.possible: dict[str, set[bytes | None]] = {}

    def make(self) -> Storage:
        """A new disk."""
        return PowerCutStorage()

    @rule(name=names, whole=wholes)
    def put_anew(self, name, whole):
        """Replace an object by delete and put, which leaves three possible states."""
        self.storage.delete(name)
        self.possible.setdefault(name, {self.synced.get(name)}).add(None)
        self.storage.put(name, [whole])
        self.model[name] = whole

    @invariant()
    def remember(self):
        """Every state of a name since the last sync may be found after a cut."""
        for name in self.model.keys() | self.synced.keys() | self.possible.keys():
            self.possible.setdefault(name, {self.synced.get(name)}).add(self.model.get(name))

    @rule()
    def sync(self):
        """After a sync only the present state is possible."""
        self.storage.sync()
        self.synced = dict(self.model)
        self.possible = {}

    @rule(seed=st.integers(0, 1 << 16))
    def cut_power(self, seed):
        """Each name is found in one of its possible states (absent also between a delete and a put)."""
        self.storage = self.storage.cut_power(Random(seed))
        found = {info.name: self.storage.get(info.name) for info in self.storage.list("")}
        for name in found.keys() | self.synced.keys():
            state = found.get(name)
            possible = self.possible.get(name, {self.synced.get(name)})
            assert state in possible
        self.model = found
        self.synced = dict(found)
        self.possible = {}


_QUICK = settings(
    max_examples=40, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestMemory = StorageMachine.TestCase
TestMemory.settings = _QUICK
TestLocal = LocalMachine.TestCase
TestLocal.settings = _QUICK
TestRetrying = RetryingMachine.TestCase
TestRetrying.settings = _QUICK
TestPowerCut = PowerCutMachine.TestCase
TestPowerCut.settings = _QUICK
