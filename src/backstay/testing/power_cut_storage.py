"""A model of a disk behind a page cache, whose power can be cut.

The model. A put or delete is at once visible to everybody, and *pending*: it is in
memory only. `sync` makes everything durable that had been done when it began. At a
power cut memory is lost:

    durable objects          all remain, with their exact bytes
    each pending operation   did or did not reach the disk, independent of all others
    the same name twice      those that did took effect in their order

What LocalStorage promises on a real disk is exactly this, because it syncs the bytes
of an object before it gives it a name: a pending object may be absent, but never
partial. With `lying=True` the disk acknowledged bytes that it did not write: a
pending object that did reach the disk may be cut short or hold zeros under its
final name. No sync was skipped in either case; objects that were synced are whole.

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


OnOperation = Callable[[int, str, str], None]


class PowerCutStorage(Storage):
    """The disk before a power cut; `cut_power` gives the disk after it.

    Once `on_operation` has raised PowerCut, or `cut_power` was called, every method
    raises PowerCut: what the dying process still attempts (in `finally`, in another
    thread) has no effect.

    Args:
        on_operation: called as (number, kind, name) before every put, delete and sync, in the
            thread that does it; may raise PowerCut. `name` is empty for sync.
        clock: the time that a listing shows as modified, in seconds since the epoch.
    """

    def __init__(
        self,
        on_operation: OnOperation = lambda number, kind, name: None,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._on_operation = on_operation
        self._clock = clock
        self._lock = threading.Lock()
        self._off = False
        self._operations = 0
        self._visible: dict[str, _Object] = {}
        self._durable: dict[str, _Object] = {}
        self._pending: list[_Change] = []

    @property
    def location(self) -> str:
        """Always `a disk that can lose power`."""
        return "a disk that can lose power"

    @property
    def operations(self) -> int:
        """How many puts, deletes and syncs have begun."""
        return self._operations

    @property
    def durable_names(self) -> frozenset[str]:
        """The names of the objects that a power cut cannot touch now (an un-synced delete still can)."""
        with self._lock:
            return frozenset(self._durable)

    def cut_power(
        self,
        random: Random,
        *,
        lying: bool = False,
        on_operation: OnOperation = lambda number, kind, name: None,
    ) -> "PowerCutStorage":
        """Turn this disk off and return it as the next boot finds it: all durable, nothing pending.

        Args:
            random: decides which pending operations reached the disk.
            lying: those that did may also be damaged; see the module.
            on_operation: as for the class, for the new storage.
        """
        after = PowerCutStorage(on_operation, clock=self._clock)
        with self._lock:
            self._off = True
            survived = dict(self._durable)
            for name, becomes in self._pending:
                if random.random() < 0.5:
                    continue
                if becomes is None:
                    survived.pop(name, None)
                else:
                    survived[name] = becomes._replace(whole=_as_written(becomes.whole, random, lying))
        after._durable = survived
        after._visible = dict(survived)
        return after

    def _begin(self, kind: str, name: str = "") -> None:
        with self._lock:
            self._check_power()
            self._operations += 1
            number = self._operations
        try:
            self._on_operation(number, kind, name)
        except PowerCut:
            self._off = True
            raise

    def _check_power(self) -> None:
        if self._off:
            raise PowerCut

    def put(self, name: str, data: Sequence[Buffer]) -> None:
        """As Storage.put; pending until the next sync."""
        check_name(name)
        new = _Object(b"".join(data), self._clock())
        self._begin("put", name)
        with self._lock:
            self._check_power()
            stored = self._visible.setdefault(name, new)
            if stored is new:
                self._pending.append(_Change(name, new))
        if stored.whole != new.whole:
            raise ObjectExists(name)

    def delete(self, name: str) -> None:
        """As Storage.delete; pending until the next sync."""
        check_name(name)
        self._begin("delete", name)
        with self._lock:
            self._check_power()
            if self._visible.pop(name, None) is not None:
                self._pending.append(_Change(name, None))

    def sync(self) -> None:
        """As Storage.sync: all that is pending becomes durable."""
        self._begin("sync")
        with self._lock:
            self._check_power()
            self._durable = dict(self._visible)
            self._pending.clear()

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
        with self._lock:
            self._check_power()
            if name not in self._visible:
                raise ObjectNotFound(check_name(name))
            return self._visible[name].whole

    def exists(self, name: str) -> bool:
        """As Storage.exists."""
        check_name(name)
        with self._lock:
            self._check_power()
            return name in self._visible

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """As Storage.list, of the objects at the moment of the first step."""
        check_prefix(prefix)
        with self._lock:
            self._check_power()
            objects = [
                ObjectInfo(name, len(stored.whole), stored.modified)
                for name, stored in self._visible.items()
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
