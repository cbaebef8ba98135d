"""What every storage must do. A new one subclasses StorageSuite and says how to open it."""

import os
import threading
from abc import abstractmethod
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from backstay.domain.errors import ObjectExists, ObjectNotFound, StorageError
from backstay.storage.interface import Buffer, Storage

_MIB = 1 << 20


class StorageSuite:
    """The promises of Storage, one test each.

    A subclass named `Test…` defines `storage` as a pytest fixture: a new, empty
    storage for every test; and where it can, `reopened`.
    """

    @pytest.fixture
    @abstractmethod
    def storage(self) -> Storage:
        """A new, empty storage."""
        raise NotImplementedError

    def reopened(self, storage: Storage) -> Storage:
        """A second way to the same objects, as another process would open it."""
        return storage

    def test_bytes_come_back(self, storage: Storage) -> None:
        """What was put is got, sized, listed and found."""
        storage.put("packs/ab/ab12", [b"hello"])
        storage.sync()
        assert storage.get("packs/ab/ab12") == b"hello"
        assert storage.size("packs/ab/ab12") == 5
        assert storage.exists("packs/ab/ab12")
        assert [(info.name, info.size) for info in storage.list("")] == [("packs/ab/ab12", 5)]

    def test_visible_before_sync(self, storage: Storage) -> None:
        """A put object can be read at once, not only after a sync."""
        storage.put("a", [b"1"])
        assert storage.get("a") == b"1"

    @pytest.mark.parametrize(
        "data",
        [
            [],
            [b""],
            [b"one"],
            [b"", b"one", b"", b"two", b""],
            [bytearray(b"abc"), memoryview(b"0123456789")[2:5], b"z"],
            [memoryview(bytearray(16)).cast("I"), b"!"],
            [bytes([n % 256]) * (n % 3) for n in range(5000)],
        ],
        ids=["nothing", "empty", "one", "gaps", "kinds", "integers", "thousands"],
    )
    def test_buffers_are_concatenated(self, storage: Storage, data: Sequence[Buffer]) -> None:
        """Any number of buffers, of any kind and length, make one object."""
        whole = b"".join(data)
        storage.put("x/y", data)
        assert storage.get("x/y") == whole
        assert storage.size("x/y") == len(whole)

    def test_put_again_is_nothing(self, storage: Storage) -> None:
        """The same bytes under the same name are accepted any number of times, however they are cut."""
        storage.put("x", [b"12", b"345"])
        storage.put("x", [b"12345"])
        storage.put("x", [b"1", b"", b"2345"])
        assert storage.get("x") == b"12345"
        assert len(list(storage.list(""))) == 1

    @pytest.mark.parametrize("other", [b"54321", b"1234", b"123456", b""])
    def test_put_never_replaces(self, storage: Storage, other: bytes) -> None:
        """Other bytes under a name that is taken are refused, and what was there stays."""
        storage.put("x", [b"12345"])
        with pytest.raises(ObjectExists):
            storage.put("x", [other])
        assert storage.get("x") == b"12345"

    @pytest.mark.parametrize(
        ("offset", "length"),
        [
            (0, None),
            (0, 0),
            (0, 4),
            (3, 4),
            (9, 1),
            (5, None),
            (8, 10),
            (10, 1),
            (11, 5),
            (999, None),
            (4, 0),
        ],
    )
    def test_ranges(self, storage: Storage, offset: int, length: int | None) -> None:
        """A range gives exactly its bytes; past the end it comes back short, or empty."""
        whole = b"0123456789"
        storage.put("x", [whole])
        expected = whole[offset:] if length is None else whole[offset : offset + length]
        assert storage.get("x", offset, length) == expected

    def test_enormous_range(self, storage: Storage) -> None:
        """A length far beyond the object costs no more than the object."""
        storage.put("x", [b"0123"])
        assert storage.get("x", 1, 1 << 60) == b"123"

    def test_empty_object(self, storage: Storage) -> None:
        """An object of no bytes is an object."""
        storage.put("empty", [])
        assert storage.exists("empty")
        assert storage.get("empty") == b""
        assert [info.size for info in storage.list("")] == [0]
        with pytest.raises(ObjectExists):
            storage.put("empty", [b"x"])

    def test_big_object(self, storage: Storage) -> None:
        """40 MiB in many buffers come back whole and in ranges across them; a late difference is seen."""
        block = os.urandom(_MIB)
        data = [block] * 40
        storage.put("packs/big", data)
        storage.put("packs/big", data)
        assert storage.size("packs/big") == 40 * _MIB
        assert storage.get("packs/big") == b"".join(data)
        assert storage.get("packs/big", 7 * _MIB - 3, _MIB) == block[-3:] + block[:-3]
        with pytest.raises(ObjectExists):
            storage.put("packs/big", [*data[:-1], block[:-1] + bytes([block[-1] ^ 1])])

    def test_absent_object(self, storage: Storage) -> None:
        """What is not there is not found: by no method, and a folder of objects is no object."""
        storage.put("packs/ab/x", [b"1"])
        for name in ("nothing", "packs", "packs/ab", "packs/ab/xx", "packs/zz/x", "packs/ab/x/deeper"):
            assert not storage.exists(name)
            with pytest.raises(ObjectNotFound, match=name):
                storage.get(name)
            with pytest.raises(ObjectNotFound, match=name):
                storage.size(name)

    def test_delete(self, storage: Storage) -> None:
        """A deleted object is gone, its neighbours are not, and its name is free again."""
        storage.put("p/x", [b"1"])
        storage.put("p/y", [b"2"])
        storage.delete("p/x")
        storage.sync()
        assert not storage.exists("p/x")
        assert [info.name for info in storage.list("p/")] == ["p/y"]
        storage.put("p/x", [b"other"])
        assert storage.get("p/x") == b"other"

    def test_delete_what_is_not_there(self, storage: Storage) -> None:
        """Deleting twice, or what never was, does nothing; nor does it delete a folder of objects."""
        storage.put("p/x", [b"1"])
        for name in ("nothing", "q/nothing", "p", "p/x/deeper"):
            storage.delete(name)
        assert storage.get("p/x") == b"1"
        storage.delete("p/x")
        storage.delete("p/x")
        storage.sync()

    def test_secure(self, storage: Storage) -> None:
        """Securing changes nothing that can be seen, be the object there or not."""
        storage.put("p/x", [b"1"])
        self.reopened(storage).secure("p/x")
        storage.secure("p/absent")
        storage.secure("q/absent")
        storage.sync()
        assert [info.name for info in storage.list("")] == ["p/x"]

    def test_list_by_prefix(self, storage: Storage) -> None:
        """A prefix gives the objects below it, at any depth, and no other."""
        names = {"a/1", "a/b/2", "a/b/c/3", "ab/4", "b/5", "top"}
        for name in names:
            storage.put(name, [name.encode()])

        def listed(prefix: str) -> set[str]:
            infos = list(storage.list(prefix))
            assert len({info.name for info in infos}) == len(infos)
            assert all(info.size == len(info.name) for info in infos)
            return {info.name for info in infos}

        assert listed("") == names
        assert listed("a/") == {"a/1", "a/b/2", "a/b/c/3"}
        assert listed("a/b/") == {"a/b/2", "a/b/c/3"}
        assert listed("ab/") == {"ab/4"}
        assert listed("nothing/") == set()

    def test_list_while_deleting(self, storage: Storage) -> None:
        """Deleting what a listing has just given does not disturb the listing."""
        names = {f"p/{n:02x}/{n}" for n in range(50)}
        for name in names:
            storage.put(name, [b"x"])
        listed = set()
        for info in storage.list("p/"):
            storage.delete(info.name)
            listed.add(info.name)
        assert listed == names
        assert list(storage.list("")) == []

    @pytest.mark.parametrize(
        "name",
        [
            "x",
            "0",
            "_",
            "a.b",
            "a-b_c=d,e@f~g",
            "A/a2",
            "x" * 200,
            "/".join("abcdefghij"),
            "packs/ab/" + "f" * 64,
        ],
    )
    def test_every_lawful_name(self, storage: Storage, name: str) -> None:
        """Every name that the rule allows can be stored and is listed as it is."""
        storage.put(name, [b"1"])
        assert storage.get(name) == b"1"
        assert [info.name for info in storage.list("")] == [name]

    @pytest.mark.parametrize(
        "name",
        [
            *("", "/", "/x", "x/", "x//y", ".", "..", "../x", "x/..", "x/../y", "x/./y", ".hidden", "x/.y"),
            *("nul\0", "line\n", "x\n", "sp ace", "back\\slash", "C:x", "é", "lost+found/x", "y" * 201),
        ],
    )
    def test_no_other_name(self, storage: Storage, name: str) -> None:
        """A name that could climb out, hide, or mean two things is refused by every method."""
        for attempt in (
            lambda: storage.put(name, [b"1"]),
            lambda: storage.get(name),
            lambda: storage.size(name),
            lambda: storage.exists(name),
            lambda: storage.delete(name),
            lambda: storage.secure(name),
        ):
            with pytest.raises(StorageError) as caught:
                attempt()
            assert not isinstance(caught.value, ObjectNotFound)
        assert list(storage.list("")) == []

    @pytest.mark.parametrize("prefix", ["a", "/", "../", "a//", "./", "a/b", "é/"])
    def test_no_other_prefix(self, storage: Storage, prefix: str) -> None:
        """A prefix that does not end with `/`, or is no beginning of a name, is refused."""
        with pytest.raises(StorageError):
            list(storage.list(prefix))

    def test_many_put_the_same(self, storage: Storage) -> None:
        """Eight threads that put the same bytes under one name all succeed, and it is there once."""
        data = os.urandom(200_000)
        start = threading.Barrier(8)

        def put(_: int) -> None:
            start.wait()
            for number in range(5):
                storage.put(f"same/{number}", [data[:1000], data[1000:]])

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(put, range(8)))
        assert len(list(storage.list(""))) == 5
        assert all(storage.get(f"same/{number}") == data for number in range(5))

    def test_many_put_different(self, storage: Storage) -> None:
        """Of eight threads that put different bytes under one name, exactly one succeeds."""
        start = threading.Barrier(8)

        def put(number: int) -> bool:
            start.wait()
            try:
                storage.put("contested", [bytes([number]) * 100_000])
            except ObjectExists:
                return False
            return True

        with ThreadPoolExecutor(8) as pool:
            won = list(pool.map(put, range(8)))
        assert won.count(True) == 1
        assert storage.get("contested") == bytes([won.index(True)]) * 100_000

    def test_threads_at_work(self, storage: Storage) -> None:
        """Threads that put, read, list, sync and delete their own objects do not disturb each other."""

        def work(thread: int) -> None:
            for number in range(20):
                name = f"t/{number:02x}/{thread}-{number}"
                storage.put(name, [name.encode() * 50])
                assert storage.get(name) == name.encode() * 50
                if number % 5 == 0:
                    storage.sync()
                    assert name in {info.name for info in storage.list("t/")}
                if number % 2:
                    storage.delete(name)

        with ThreadPoolExecutor(6) as pool:
            list(pool.map(work, range(6)))
        assert len(list(storage.list(""))) == 60

    def test_reopened(self, storage: Storage) -> None:
        """Another process sees every object, and may go on."""
        names = {f"packs/{n:02x}/{n}" for n in range(20)}
        for name in names:
            storage.put(name, [name.encode()])
        storage.sync()
        again = self.reopened(storage)
        assert {info.name for info in again.list("")} == names
        assert all(again.get(name) == name.encode() for name in names)
        again.put("packs/00/0", [b"packs/00/0"])
        with pytest.raises(ObjectExists):
            again.put("packs/00/0", [b"other"])
        again.put("more", [b"1"])
        assert storage.get("more") == b"1"

    def test_says_where_it_is(self, storage: Storage) -> None:
        """The location is there to be shown; room left is a number of bytes, or unknown."""
        assert storage.location
        free = storage.free_bytes()
        assert free is None or free > 0
