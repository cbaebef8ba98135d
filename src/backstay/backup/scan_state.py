"""What the agent remembers between backups: for each folder, what it looked like and the page it became.

It is a cache: without it a backup reads everything again and stores nothing twice. It
must never be ahead of the repository, so rows are committed only after a checkpoint has
made durable what they refer to.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import msgspec
import zstandard

from backstay.domain.entry import Entry, Totals
from backstay.domain.errors import AlreadyRunning, StorageError
from backstay.repository.compression import decompress
from backstay.system.calls import os
from backstay.system.host import lock_file
from backstay.system.places import state_root

_SCHEMA_VERSION = 2
_SCHEMA = """
create table folders (
    path blob primary key, digest blob, page blob, totals blob, epoch integer
) without rowid;
create table segments (
    path blob, first blob, digest blob, page blob, totals blob, epoch integer, size integer, rows blob,
    primary key (path, first)
) without rowid;
create table facts (name text primary key, value blob) without rowid;
"""

_LIGHT = -1
"""Level at which entries are compressed: a folder's are too few for better ones to be worth their time."""

_LEAST_AHEAD, _MOST_AHEAD = 8, 512

_entries = msgspec.msgpack.Decoder(list[Entry])
_totals = msgspec.msgpack.Decoder(Totals)
_encoder = msgspec.msgpack.Encoder()


class Known(NamedTuple):
    """A folder or segment as it was last stored; an empty digest equals nothing.

    The epoch in which it was stored is filled in by the state.
    """

    digest: bytes
    page: bytes
    totals: Totals
    epoch: int = -1


class Facts(msgspec.Struct, array_like=True):
    """What the rows rest upon.

    Attributes:
        base: id of the restore point that they were committed with; empty where there is none.
        open_sessions: sessions that stored pages since then without a commit.
        collections: fingerprint of all garbage collection seen so far.
        damages: fingerprint of the packs known as damaged.
        runs: index runs that were there at the last commit of this state.
        epoch: grows whenever stored blobs may have gone since the last backup. What a row of this
            epoch refers to is there; an older row counts only where `base` leads to it.
        bytes_per_second, files_per_second: measured speed of the last backup that read much.
    """

    base: bytes = b""
    open_sessions: list[bytes] = msgspec.field(default_factory=list)
    collections: bytes = b""
    damages: bytes = b""
    bytes_per_second: float = 0.0
    files_per_second: float = 0.0
    runs: list[bytes] = msgspec.field(default_factory=list)
    epoch: int = 0


class _Ahead:
    """Rows that a query has given of the paths from one on, in order.

    Attributes:
        rows: by path.
    """

    def __init__(self) -> None:
        self.rows: dict[bytes, tuple[bytes, bytes, bytes, bytes, int]] = {}
        self._first = self._last = b""
        self._is_filled = self._reaches_the_end = False
        self._limit = _LEAST_AHEAD

    def covers(self, path: bytes) -> bool:
        """Whether the rows tell of this path, be it that there is none."""
        return self._is_filled and path >= self._first and (path <= self._last or self._reaches_the_end)

    def wanted(self, path: bytes) -> int:
        """How many rows to ask for from this path on: ever more, as long as it goes forwards."""
        goes_on = self._is_filled and path > self._last
        self._limit = min(2 * self._limit, _MOST_AHEAD) if goes_on else _LEAST_AHEAD
        return self._limit

    def fill(self, path: bytes, rows: list[tuple[bytes, bytes, bytes, bytes, int]]) -> None:
        """Take the rows that were asked for."""
        self.rows = {row[0]: row for row in rows}
        self._first, self._last = path, rows[-1][0] if rows else path
        self._is_filled, self._reaches_the_end = True, len(rows) < self._limit

    def forget(self) -> None:
        """What was read may not be so any more."""
        self._is_filled = False


class ScanState:
    """The state of one backup set on this machine; open it with `open_scan_state`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection = self._connect()
        self._compress = zstandard.ZstdCompressor(level=_LIGHT).compress
        self._ahead = _Ahead()
        self.facts = self._read_facts()

    def _connect(self) -> sqlite3.Connection:
        try:
            return self._prepare()
        except sqlite3.DatabaseError:
            # It can be rebuilt by reading the files again, so a damaged one is not worth a failed backup.
            self.remove()
            return self._prepare()

    def remove(self) -> None:
        """Delete the file, as it is damaged; the next to open the state begins with an empty one."""
        for suffix in ("", "-wal", "-shm"):
            Path(f"{self._path}{suffix}").unlink(missing_ok=True)

    def _prepare(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, isolation_level=None)
        connection.execute("pragma journal_mode = wal")
        connection.execute("pragma synchronous = normal")
        connection.execute("pragma cache_size = -16384")
        version = connection.execute("pragma user_version").fetchone()[0]
        if version != _SCHEMA_VERSION:
            if version:
                connection.close()
                raise sqlite3.DatabaseError("the state is of another version")
            connection.execute("begin immediate")
            for statement in _SCHEMA.split(";"):
                connection.execute(statement)
            connection.execute(f"pragma user_version = {_SCHEMA_VERSION}")
            connection.execute("commit")
        connection.execute("begin immediate")
        return connection

    def _read_facts(self) -> Facts:
        row = self._connection.execute("select value from facts where name = 'facts'").fetchone()
        if row is None:
            return Facts()
        try:
            return msgspec.msgpack.decode(row[0], type=Facts)
        except msgspec.MsgspecError:
            self.clear()
            return Facts()

    def clear(self) -> None:
        """Forget every folder."""
        self._ahead.forget()
        self._connection.execute("delete from folders")
        self._connection.execute("delete from segments")

    def is_empty(self) -> bool:
        """Whether nothing is remembered of any folder."""
        query = "select exists (select 1 from segments) or exists (select 1 from folders)"
        return not self._connection.execute(query).fetchone()[0]

    def folder(self, path: bytes) -> Known | None:
        """A folder of several segments, as it was last stored."""
        return self._known("select digest, page, totals, epoch from folders where path = ?", (path,))

    def segment(self, path: bytes, first: bytes) -> Known | None:
        """A run of a folder's entries, as it was last stored; `first` is empty for the first run."""
        if not first:
            return self._first_segment(path)
        return self._known(
            "select digest, page, totals, epoch from segments where path = ? and first = ?", (path, first)
        )

    def _first_segment(self, path: bytes) -> Known | None:
        """As `segment`, looking ahead: a scan asks for one path after the other, nearly in their order."""
        ahead = self._ahead
        if not ahead.covers(path):
            rows = self._connection.execute(
                "select path, digest, page, totals, epoch from segments where path >= ? and first = ? "
                "order by path limit ?",
                (path, b"", ahead.wanted(path)),
            ).fetchall()
            ahead.fill(path, rows)
        row = ahead.rows.get(path)
        return Known(row[1], row[2], _totals.decode(row[3]), row[4]) if row else None

    def _known(self, query: str, key: tuple[bytes, ...]) -> Known | None:
        row = self._connection.execute(query, key).fetchone()
        return Known(row[0], row[1], _totals.decode(row[2]), row[3]) if row else None

    def whole(self, path: bytes) -> Known | None:
        """A folder as it was last stored, of however many segments."""
        return self.folder(path) or self.segment(path, b"")

    def segment_pages(self, path: bytes) -> list[bytes]:
        """The pages of a folder's segments, in order."""
        query = "select page from segments where path = ? order by first"
        return [page for (page,) in self._connection.execute(query, (path,))]

    def entries(self, path: bytes) -> Iterator[Entry]:
        """Every entry of a folder as it was last stored, sorted by name.

        One that must be read again has a ctime that no file has.
        """
        query = "select size, rows from segments where path = ? order by first"
        for size, rows in self._connection.execute(query, (path,)):
            with suppress(ValueError, msgspec.MsgspecError):
                yield from _entries.decode(decompress(rows, size))

    def put_folder(self, path: bytes, known: Known) -> None:
        """Remember a folder of several segments."""
        self._connection.execute(
            "insert or replace into folders values (?, ?, ?, ?, ?)",
            (path, known.digest, known.page, _encoder.encode(known.totals), self.facts.epoch),
        )

    def put_segment(self, path: bytes, first: bytes, known: Known, entries: list[Entry]) -> None:
        """Remember a segment and its entries."""
        self._ahead.forget()
        rows = _encoder.encode(entries)
        totals, epoch = _encoder.encode(known.totals), self.facts.epoch
        self._connection.execute(
            "insert or replace into segments values (?, ?, ?, ?, ?, ?, ?, ?)",
            (path, first, known.digest, known.page, totals, epoch, len(rows), self._compress(rows)),
        )

    def drop_segments(self, path: bytes, kept: set[bytes]) -> None:
        """Forget the segments of a folder that do not begin with one of `kept`."""
        self._ahead.forget()
        if len(kept) == 1:
            self._connection.execute("delete from segments where path = ? and first <> ?", (path, *kept))
            self._connection.execute("delete from folders where path = ?", (path,))
            return
        found = self._connection.execute("select first from segments where path = ?", (path,)).fetchall()
        for (first,) in found:
            if first not in kept:
                self._connection.execute("delete from segments where path = ? and first = ?", (path, first))

    def forget_below(self, path: bytes) -> None:
        """Forget a folder that is gone, and everything below it."""
        self._ahead.forget()
        for table in ("folders", "segments"):
            self._connection.execute(f"delete from {table} where path = ?", (path,))
            self._connection.execute(
                f"delete from {table} where path > ? and path < ?", (path + b"/", path + b"0")
            )

    def commit(self) -> None:
        """Keep what was remembered; what it refers to must be durable."""
        self._connection.execute(
            "insert or replace into facts values ('facts', ?)", (_encoder.encode(self.facts),)
        )
        self._connection.execute("commit")
        self._connection.execute("begin immediate")

    def roll_back(self) -> None:
        """Forget the folders that were remembered since the last commit."""
        self._ahead.forget()
        self._connection.execute("rollback")
        self._connection.execute("begin immediate")

    def close(self) -> None:
        """Forget what was not committed."""
        self._connection.close()


@contextmanager
def open_scan_state(repository_id: bytes, backup_set: str, root: Path | None = None) -> Iterator[ScanState]:
    """The state of a set, for this process alone.

    Raises:
        AlreadyRunning: another process backs up this set.
        StorageError: the state folder cannot be used.
    """
    folder = (root or state_root()) / repository_id.hex()
    name = quote(backup_set, safe=" ").replace("%", "=")
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(folder / f"{name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StorageError(
            f"the state folder {folder} cannot be used: {error.strerror}",
            hint="choose another folder with BACKSTAY_STATE",
        ) from error
    try:
        try:
            lock_file(lock)
        except BlockingIOError:
            holder = os.pread(lock, 20, 0).decode("ascii", "replace").strip()
            raise AlreadyRunning(
                f"the set {backup_set} is being backed up already (process {holder or 'unknown'})",
                hint="wait until it is done, or back up another set with --set",
            ) from None
        os.ftruncate(lock, 0)
        os.pwrite(lock, str(os.getpid()).encode(), 0)
        try:
            state = ScanState(folder / f"{name}.db")
        except sqlite3.Error as error:
            raise StorageError(
                f"the scan state in {folder} cannot be used: {error}",
                hint="make room there, or choose another folder with BACKSTAY_STATE",
            ) from error
        try:
            yield state
        except sqlite3.Error as error:
            if "malformed" in str(error):
                state.remove()
            raise StorageError(
                f"the scan state in {folder} cannot be used: {error}",
                hint="run the backup again; if that does not help, make room there, or choose another folder "
                "with BACKSTAY_STATE",
            ) from error
        finally:
            state.close()
    finally:
        os.close(lock)
