"""What every storage promises. Nothing here knows what the bytes mean.

Names are ASCII paths with `/` between parts, as `packs/ab/ab12…`; a part is never
empty, `.` or `..`. Objects are immutable: they are put once, whole, and later
fetched or deleted, never changed.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

Buffer = bytes | bytearray | memoryview


class ObjectInfo(NamedTuple):
    """One line of a listing: size in bytes, modification time in seconds since the epoch."""

    name: str
    size: int
    modified: float


class Storage(Protocol):
    """A place for immutable named objects. Safe to use from several threads."""

    @property
    def location(self) -> str:
        """Where it is, in words that a user knows: a folder, a bucket's URL."""

    def probe(self) -> None:
        """Make sure, by trying where it must be tried, that the place keeps these promises.

        Called once, before a repository is made in it. Nothing of the trial remains.

        Raises:
            StorageError: it does not keep them.
            StorageUnavailable: it cannot be told now.
        """
        return

    def put(self, name: str, data: Sequence[Buffer]) -> None:
        """Store the concatenated `data` under `name`, create-only and whole.

        Idempotent: where `name` already holds the same bytes nothing happens, so
        a put whose answer was lost can be repeated. A reader never sees part of
        an object, also after a crash. Durable at the latest when the next
        `sync` returns.

        Raises:
            ObjectExists: `name` holds other bytes.
            StorageFull: there is no room; nothing of the object remains.
            StorageUnavailable: it failed in a way that may pass.
            StorageError: it failed for good.
        """

    def sync(self) -> None:
        """Return when every earlier put and delete of this process is durable."""

    def secure(self, name: str) -> None:
        """Count `name`, which another process may have put, among what the next `sync` makes durable."""

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        """`length` bytes from `offset`, or all to the end. A range past the end comes back short.

        Raises:
            ObjectNotFound: there is no such object.
            StorageUnavailable, StorageError: as for `put`.
        """

    def size(self, name: str) -> int:
        """Size of the object in bytes. Raises ObjectNotFound."""

    def exists(self, name: str) -> bool:
        """Whether the object is there."""

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Every object whose name starts with `prefix` (which ends with `/` or is empty), in any order.

        An object that is put or deleted meanwhile may be listed or not.
        Unfinished objects are never listed.
        """

    def delete(self, name: str) -> None:
        """Delete the object; deleting what is not there does nothing."""

    def free_bytes(self) -> int | None:
        """Room left, in bytes, or None where the storage cannot tell."""
