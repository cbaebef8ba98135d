"""The local copies of a repository's index runs, merged so that few have to be asked.

The cache can be deleted at any time. A flipped bit in it cannot make a missing blob
look present: prefixes are 128 bits of a keyed hash, and what a look-up yields is
checked against the blob's id when it is read.
"""

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from blake3 import blake3

from backstay.domain.errors import DamagedObject, ObjectNotFound, StorageError
from backstay.repository.encryption import unseal
from backstay.repository.index import MAGIC, Index, Run, check_run
from backstay.repository.layout import INDEX, digest_of, object_name
from backstay.storage.interface import Storage
from backstay.system.calls import os

MOST_RUNS = 8
"""With more runs than this the smaller ones are merged."""


class IndexCache:
    """A folder of mapped runs: copies by digest, and merges of several with a list of their sources."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def open(
        self, storage: Storage, catalogue_key: bytes, condemned: frozenset[bytes]
    ) -> tuple[Index, list[DamagedObject]]:
        """Map all runs of the repository, and name those that are damaged.

        Raises:
            StorageError: the storage cannot be read.
        """
        cleared = False
        while True:
            try:
                return self._open(storage, catalogue_key, condemned)
            except (ObjectNotFound, FileNotFoundError):
                # Another process has put merged runs in the place of some, in the repository or here.
                continue
            except DamagedObject:
                # A copy was checked when it was fetched, so this disk has spoilt it since.
                if cleared:
                    raise
                self._drop_unused(set())
                cleared = True

    def _open(
        self, storage: Storage, catalogue_key: bytes, condemned: frozenset[bytes]
    ) -> tuple[Index, list[DamagedObject]]:
        wanted = {digest for info in storage.list(INDEX) if (digest := digest_of(info.name))}
        runs: dict[Path, frozenset[bytes]] = {}
        for path, sources in sorted(self._merges(), key=lambda merge: len(merge[1]), reverse=True):
            if sources <= wanted and not any(sources & other for other in runs.values()):
                runs[path] = sources
            else:
                self._forget(path)
        damaged: list[DamagedObject] = []
        for digest in sorted(wanted - {source for sources in runs.values() for source in sources}):
            path = self._folder / f"{digest.hex()}.run"
            try:
                if not path.exists():
                    self._write(path, fetch_run(storage, digest, catalogue_key))
                runs[path] = frozenset((digest,))
            except DamagedObject as error:
                damaged.append(error)
        opened: list[tuple[Run, frozenset[bytes]]] = []
        for path, sources in runs.items():
            opened.append((Run(path), sources))
        if len(opened) > MOST_RUNS:
            opened = self._merge_small(opened)
        self._drop_unused({run.path for run, _ in opened})
        opened.sort(key=lambda item: -item[0].entries)
        sources = frozenset().union(*(names for _, names in opened))
        return Index([run for run, _ in opened], condemned, sources), damaged

    def add(self, digest: bytes, encoded: bytes) -> Run:
        """Keep a run that this process has just written, and map it."""
        path = self._folder / f"{digest.hex()}.run"
        while True:
            self._write(path, encoded)
            # Another process that does not know it yet may have taken it for one that is not used any more.
            with suppress(FileNotFoundError):
                return Run(path)

    def _merges(self) -> Iterable[tuple[Path, frozenset[bytes]]]:
        for path in self._folder.glob("merged-*.run"):
            with suppress(OSError, ValueError):
                lines = path.with_suffix(".sources").read_text().split()
                yield path, frozenset(bytes.fromhex(line) for line in lines)

    def _merge_small(self, opened: list[tuple[Run, frozenset[bytes]]]) -> list[tuple[Run, frozenset[bytes]]]:
        from backstay.repository.index_merge import merge_runs

        opened.sort(key=lambda item: item[0].entries)
        # Leave a run alone when it outweighs everything smaller: each entry is then
        # rewritten a logarithmic number of times over the repository's life.
        take, weight = 1, opened[0][0].entries
        while take < len(opened) and (
            opened[take][0].entries <= 2 * weight or len(opened) - take >= MOST_RUNS
        ):
            weight += opened[take][0].entries
            take += 1
        chosen, kept = opened[:take], opened[take:]
        sources = frozenset().union(*(names for _, names in chosen))
        listing = "\n".join(sorted(digest.hex() for digest in sources))
        path = self._folder / f"merged-{blake3(listing.encode()).hexdigest(16)}.run"
        aside = path.with_name(f"{path.name}.{os.getpid()}.aside")
        merge_runs([run for run, _ in chosen], aside)
        self._write(path.with_suffix(".sources"), listing.encode())
        _sync(aside)
        _publish(aside, path)
        return [*kept, (Run(path), sources)]

    def _drop_unused(self, used: set[Path]) -> None:
        for path in self._folder.glob("*.run"):
            if path not in used:
                self._forget(path)

    def _forget(self, path: Path) -> None:
        # Windows deletes nothing that some process has mapped: it stays until the next time.
        with suppress(PermissionError):
            path.unlink(missing_ok=True)
            path.with_suffix(".sources").unlink(missing_ok=True)

    def _write(self, path: Path, content: bytes) -> None:
        aside = path.with_name(f"{path.name}.{os.getpid()}.aside")
        try:
            aside.write_bytes(content)
            _sync(aside)
            _publish(aside, path)
        except OSError as error:
            aside.unlink(missing_ok=True)
            raise StorageError(
                f"the local index cache in {self._folder} cannot be written: {error.strerror}",
                hint="make room there, or choose another folder with BACKSTAY_CACHE",
            ) from error


def _publish(aside: Path, path: Path) -> None:
    try:
        aside.replace(path)
    except PermissionError:
        # Windows replaces nothing that some process has mapped; of one name the content is the same.
        if not path.exists():
            raise
        aside.unlink()


def _sync(path: Path) -> None:
    """A power cut must not leave a run whose name is there, but not its bytes."""
    # Windows syncs only what is open for writing.
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def fetch_run(storage: Storage, digest: bytes, catalogue_key: bytes) -> bytes:
    """A run's bytes as they are mapped, from the repository, checked.

    Raises:
        ObjectNotFound, StorageError, DamagedObject, UnsupportedVersion.
    """
    name = object_name(INDEX, digest)
    sealed = storage.get(name)
    if blake3(sealed, max_threads=blake3.AUTO).digest() != digest:
        raise DamagedObject(name, "its bytes are not what its name says")
    encoded = unseal(catalogue_key, MAGIC, sealed, name)
    check_run(encoded, name)
    return encoded
