"""A model of a disk behind a page cache, whose power can be cut.

The model. A put or delete is at once visible to everybody, and *pending*: it is in
memory only. `sync` makes durable what its process had put, deleted or secured when it
began, and nothing that only others did. At a power cut memory is lost:

    durable objects          all remain, with their exact bytes
    each pending operation   did or did not reach the disk, independent of all others
    the same name twice      those that did took effect in their order

LocalStorage promises exactly this on a real disk, because it syncs the bytes of an
object before it gives it a name: a pending object may be absent, but never partial.
(It promises no less, and often does more: it syncs whole folders.) With `lying=True`
the disk acknowledged bytes that it did not write: a pending object that did reach the
disk may be cut short or hold zeros under its final name. Synced objects are whole in
either case.

Crash points. Operations that change something (put, delete, sync) are numbered from
1. `on_operation(number, kind, name)` is called *before* each takes effect. Cutting
the power there covers every case: that operation N was under way when the power
went is, for put and delete, the case that N is pending, found at N + 1, and for sync
the case that any part of what was pending reached the disk, found at N itself. Reads
change nothing, so a cut during a read equals one before the next change.
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import NamedTuple

from backstay.domain.errors import ObjectExists, ObjectNotFound
from backstay.storage.interface import Buffer, ObjectInfo, Storage
from backstay.storage.names import check_name, check_prefix


class PowerCut(BaseException):  # not an Exception: no code under test may handle it
    """The machine is off. Nothing that still runs can reach the disk."""


class _Object(NamedTuple):
    whole: bytes
    modified: float


class _Change(NamedTuple):
    name: str
    becomes: _Object | None


class _Disk:
    """What the processes of one machine share: its disk, its memory, its power."""

    def __init__(self, durable: dict[str, _Object]) -> None:
        self.lock = threading.Lock()
        self.off = False
        self.operations = 0
        self.durable = durable
        self.visible = dict(durable)
        self.pending: list[_Change] = []

    def check_power(self) -> None:
        if self.off:
            raise PowerCut


OnOperation = Callable[[int, str, str], None]


def _nothing(number: int, kind: str, name: str) -> None:
    pass


class PowerCutStorage(Storage):
    """The disk before a power cut; `cut_power` gives the disk after it.

    Once `on_operation` has raised PowerCut, or `cut_power` was called, every method
    raises PowerCut: what the dying processes still attempt (in `finally`, in another
    thread) has no effect.

    Args:
        on_operation: called as (number, kind, name) before every put, delete and sync, in the
            thread that does it; may raise PowerCut. `name` is empty for sync.
        clock: the time that a listing shows as modified, in seconds since the epoch.
    """

    def __init__(
        self, on_operation: OnOperation = _nothing, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._on_operation = on_operation
        self._clock = clock
        self._disk = _Disk({})
        self._own: set[str] = set()

    def another_process(self, on_operation: OnOperation | None = None) -> "PowerCutStorage":
        """The same disk, seen by another process of the machine.

        Args:
            on_operation: as for the class; None: that of this process. Numbers count on together.
        """
        other = PowerCutStorage(on_operation or self._on_operation, clock=self._clock)
        other._disk = self._disk
        return other

    def cut_power(
        self, random: Random, *, lying: bool = False, on_operation: OnOperation = _nothing
    ) -> "PowerCutStorage":
        """Turn this disk off and return it as the next boot finds it: all durable, nothing pending.

        Args:
            random: decides which pending operations reached the disk.
            lying: those that did may also be damaged; see the module.
            on_operation: as for the class, for the new storage.
        """
        with self._disk.lock:
            self._disk.off = True
            survived = dict(self._disk.durable)
            for name, becomes in self._disk.pending:
                if random.random() < 0.5:
                    continue
                if becomes is None:
                    survived.pop(name, None)
                else:
                    survived[name] = becomes._replace(whole=_as_written(becomes.whole, random, lying))
        after = PowerCutStorage(on_operation, clock=self._clock)
        after._disk = _Disk(survived)
        return after

    @property
    def location(self) -> str:
        """Always `a disk that can lose power`."""
        return "a disk that can lose power"

    @property
    def operations(self) -> int:
        """How many puts, deletes and syncs have begun on this disk."""
        return self._disk.operations

    @property
    def durable_names(self) -> frozenset[str]:
        """The names of the objects that are durable now (a pending delete may still take them)."""
        with self._disk.lock:
            return frozenset(self._disk.durable)

    def _begin(self, kind: str, name: str = "") -> None:
        with self._disk.lock:
            self._disk.check_power()
            self._disk.operations += 1
            number = self._disk.operations
        try:
            self._on_operation(number, kind, name)
        except PowerCut:
            self._disk.off = True
            raise

    def put(self, name: str, data: Sequence[Buffer]) -> None:
        """As Storage.put; pending until the next sync of this process."""
        check_name(name)
        new = _Object(b"".join(data), self._clock())
        self._begin("put", name)
        with self._disk.lock:
            self._disk.check_power()
            stored = self._disk.visible.setdefault(name, new)
            if stored is new:
                self._disk.pending.append(_Change(name, new))
            self._own.add(name)
        if stored.whole != new.whole:
            raise ObjectExists(name)

    def delete(self, name: str) -> None:
        """As Storage.delete; pending until the next sync of this process."""
        check_name(name)
        self._begin("delete", name)
        with self._disk.lock:
            self._disk.check_power()
            if self._disk.visible.pop(name, None) is not None:
                self._disk.pending.append(_Change(name, None))
            self._own.add(name)

    def secure(self, name: str) -> None:
        """As Storage.secure."""
        check_name(name)
        with self._disk.lock:
            self._disk.check_power()
            self._own.add(name)

    def sync(self) -> None:
        """As Storage.sync: all that is pending under names that this process touched becomes durable."""
        self._begin("sync")
        with self._disk.lock:
            self._disk.check_power()
            others = []
            for change in self._disk.pending:
                if change.name not in self._own:
                    others.append(change)
                elif change.becomes is None:
                    self._disk.durable.pop(change.name, None)
                else:
                    self._disk.durable[change.name] = change.becomes
            self._disk.pending = others
            self._own.clear()

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        """As Storage.get."""
        if offset < 0 or (length is not None and length < 0):
            raise ValueError("offset and length cannot be negative")
        whole = self._seen(name)
        return whole[offset:] if length is None else whole[offset : offset + length]

    def size(self, name: str) -> int:
        """As Storage.size."""
        return len(self._seen(name))

    def _seen(self, name: str) -> bytes:
        with self._disk.lock:
            self._disk.check_power()
            if name not in self._disk.visible:
                raise ObjectNotFound(check_name(name))
            return self._disk.visible[name].whole

    def exists(self, name: str) -> bool:
        """As Storage.exists."""
        check_name(name)
        with self._disk.lock:
            self._disk.check_power()
            return name in self._disk.visible

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """As Storage.list, of the objects at the moment of the first step."""
        check_prefix(prefix)
        with self._disk.lock:
            self._disk.check_power()
            objects = [
                ObjectInfo(name, len(stored.whole), stored.modified)
                for name, stored in self._disk.visible.items()
                if name.startswith(prefix)
            ]
        yield from objects

    def free_bytes(self) -> int | None:
        """None: it cannot tell."""
        return None


def _as_written(whole: bytes, random: Random, lying: bool) -> bytes:
    """What of `whole` a disk holds that may lie: all, a beginning, or zeros from somewhere on."""
    if not lying or not whole:
        return whole
    kept = random.randrange(len(whole))
    return random.choice((whole, whole[:kept], whole[:kept] + bytes(len(whole) - kept)))
