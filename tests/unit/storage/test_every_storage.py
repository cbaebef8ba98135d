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
    @pytest.fixture
    def storage(self, tmp_path) -> Storage:
        return LocalStorage(tmp_path / "store", create=True)

    def reopened(self, storage: Storage) -> Storage:
        return open_storage(storage.location)


class TestMemoryStorage(StorageSuite):
    @pytest.fixture
    def storage(self) -> Storage:
        return MemoryStorage()


class TestPowerCutStorage(StorageSuite):
    @pytest.fixture
    def storage(self) -> Storage:
        return PowerCutStorage()


class TestRetryingStorage(StorageSuite):
    """Over a storage that fails at two of three operations, half of them after they were done."""

    @pytest.fixture
    def storage(self) -> Iterator[Storage]:
        faulty = FaultyStorage(MemoryStorage(), "(EL.SL.)")
        yield RetryingStorage(faulty, attempts=50, sleep=lambda seconds: None)
        assert sum(faulty.counts.values()) < 2 or faulty.faults


class TestThrottledStorage(StorageSuite):
    @pytest.fixture
    def storage(self) -> Storage:
        return ThrottledStorage(MemoryStorage(), Throttle(lambda: 4e9))
