from random import Random

import pytest

from backstay.testing.power_cut_storage import PowerCut, PowerCutStorage


def after_cuts(storage_before, lying: bool = False) -> list[dict[str, bytes]]:
    """What is on the disk after each of 200 different power cuts."""
    disks = []
    for seed in range(200):
        disk = storage_before().cut_power(Random(seed), lying=lying)
        disks.append({info.name: disk.get(info.name) for info in disk.list("")})
    return disks


def test_synced_objects_remain():
    """Whatever was synced is there after every cut, with its exact bytes; synced deletes stay gone."""

    def before() -> PowerCutStorage:
        storage = PowerCutStorage()
        storage.put("kept", [b"12", b"3"])
        storage.put("gone", [b"1"])
        storage.sync()
        storage.delete("gone")
        storage.sync()
        return storage

    assert after_cuts(before) == [{"kept": b"123"}] * 200
    assert after_cuts(before, lying=True) == [{"kept": b"123"}] * 200


def test_pending_operations_are_independent():
    """Each un-synced put and delete happened or not, in every combination, later without earlier."""

    def before() -> PowerCutStorage:
        storage = PowerCutStorage()
        storage.put("old", [b"0"])
        storage.sync()
        storage.put("a", [b"1"])
        storage.put("b", [b"2"])
        storage.delete("old")
        return storage

    found = {frozenset(disk) for disk in after_cuts(before)}
    assert len(found) == 8
    assert all(disk.get("a", b"1") == b"1" and disk.get("b", b"2") == b"2" for disk in after_cuts(before))


def test_same_name_twice():
    """Un-synced changes of one name take effect in their order: never an older one over a newer."""

    def before() -> PowerCutStorage:
        storage = PowerCutStorage()
        storage.put("x", [b"1"])
        storage.sync()
        storage.delete("x")
        storage.put("x", [b"2"])
        return storage

    assert {disk.get("x") for disk in after_cuts(before)} == {b"1", None, b"2"}


def test_lying_disk():
    """A disk that lies may cut a pending object short or fill it with zeros; nothing else."""
    whole = bytes(range(1, 101))

    def before() -> PowerCutStorage:
        storage = PowerCutStorage()
        storage.put("x", [whole])
        return storage

    kinds = set()
    for disk in after_cuts(before, lying=True):
        found = disk.get("x")
        if found is None or found == whole:
            kinds.add("absent" if found is None else "whole")
        elif len(found) == 100:
            assert whole.startswith(found.rstrip(b"\0"))
            kinds.add("zeroed")
        else:
            assert whole.startswith(found)
            kinds.add("short")
    assert kinds == {"absent", "whole", "zeroed", "short"}


def test_pending_is_visible():
    """Before the cut everybody sees what is pending, and the new disk is independent of the old."""
    storage = PowerCutStorage()
    storage.put("x", [b"1"])
    assert storage.another_process().get("x") == b"1"
    assert storage.durable_names == frozenset()
    storage.sync()
    assert storage.durable_names == {"x"}
    disk = storage.cut_power(Random(0))
    disk.put("y", [b"2"])
    assert [info.name for info in disk.list("")] == ["x", "y"]


def test_sync_is_of_one_process():
    """A sync makes durable what its own process put or secured; what only another put stays pending."""
    storage = PowerCutStorage()
    other = storage.another_process()
    for name in ("secured", "repeated", "ignored"):
        other.put(name, [b"1"])
    storage.put("repeated", [b"1"])
    storage.secure("secured")
    assert storage.exists("ignored")
    storage.sync()
    assert storage.durable_names == {"secured", "repeated"}
    other.sync()
    assert storage.durable_names == {"secured", "repeated", "ignored"}


def test_operations_are_numbered():
    """Every change is announced before it takes effect, with its number; reads are not."""
    told: list[tuple[int, str, str]] = []
    storage = PowerCutStorage(lambda number, kind, name: told.append((number, kind, name)))
    storage.put("x", [b"1"])
    assert storage.get("x") == b"1"
    assert storage.exists("x")
    storage.sync()
    storage.another_process().delete("x")
    assert told == [(1, "put", "x"), (2, "sync", ""), (3, "delete", "x")]
    assert storage.operations == 3


@pytest.mark.parametrize("at", [1, 2, 3, 4])
def test_cut_at_an_operation(at):
    """A cut at operation N leaves N undone, and nothing that the dying process still does has an effect."""

    def cut(number: int, kind: str, name: str) -> None:
        if number == at:
            raise PowerCut

    storage = PowerCutStorage(cut)
    steps = [
        lambda: storage.put("x", [b"1"]),
        storage.sync,
        lambda: storage.put("y", [b"2"]),
        storage.sync,
    ]
    with pytest.raises(PowerCut):
        for step in steps:
            step()
    for attempt in (
        *steps,
        lambda: storage.get("x"),
        lambda: storage.size("x"),
        lambda: storage.exists("x"),
        lambda: list(storage.list("")),
        lambda: storage.delete("x"),
        lambda: storage.secure("x"),
        lambda: storage.another_process().put("z", [b"3"]),
    ):
        with pytest.raises(PowerCut):
            attempt()
    possible = {1: [set()], 2: [set(), {"x"}], 3: [{"x"}], 4: [{"x"}, {"x", "y"}]}[at]
    found = [{info.name for info in storage.cut_power(Random(seed)).list("")} for seed in range(30)]
    assert all(names in possible for names in found)
    assert all(names in found for names in possible)
