from collections.abc import Iterator

import pytest

from backstay.storage.interface import Storage
from backstay.storage.local import LocalStorage
from backstay.storage.registry import open_storage
from backstay.storage.retrying import RetryingStorage
from backstay.storage.throttled import Throttle, ThrottledStorage
from backstay.testing.faulty_storage import FaultyStorage
from backstay.testing.memory_storage import MemoryStorage
from backstay.testing.power_cut_storage import PowerCutStorage
from backstay.testing.storage_suite import StorageSuite


class TestLocalStorage(StorageSuite):
    """In a folder."""

    @pytest.fixture
    def storage(self, tmp_path) -> Storage:
        """A new folder."""
        return LocalStorage(tmp_path / "store", create=True)

    def reopened(self, storage: Storage) -> Storage:
        """The same folder."""
        return open_storage(storage.location)


class TestMemoryStorage(StorageSuite):
    """In memory."""

    @pytest.fixture
    def storage(self) -> Storage:
        """A new dictionary."""
        return MemoryStorage()


class TestPowerCutStorage(StorageSuite):
    """While the power holds."""

    @pytest.fixture
    def storage(self) -> Storage:
        """A new disk."""
        return PowerCutStorage()

    def reopened(self, storage: PowerCutStorage) -> Storage:
        """As another process of the machine."""
        return storage.another_process()


class TestRetryingStorage(StorageSuite):
    """Over a storage that fails at two of three operations, half of them after they were done."""

    @pytest.fixture
    def storage(self) -> Iterator[Storage]:
        """A new one in memory, and the check that the script took effect."""
        faulty = FaultyStorage(MemoryStorage(), "(EL.SL.)")
        yield RetryingStorage(faulty, attempts=50, sleep=lambda seconds: None)
        assert sum(faulty.counts.values()) < 2 or faulty.faults


class TestThrottledStorage(StorageSuite):
    """At a limit that is not reached."""

    @pytest.fixture
    def storage(self) -> Storage:
        """A new one in memory."""
        return ThrottledStorage(MemoryStorage(), Throttle(lambda: 4e9))
