"""A restore drill: files chosen by chance are read whole, as a restore would, and checked."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from backstay.domain.entry import Entry
from backstay.domain.errors import DamagedObject
from backstay.repository.blob_source import BlobSource
from backstay.repository.content import file_bytes
from backstay.repository.manifest import RestorePoint
from backstay.repository.repository import Repository
from backstay.repository.tree import PageRow, ReadBlob, decode_page

_TRIES = 3


@dataclass(frozen=True)
class DrilledFile:
    """A file that could not be read as it was backed up, and why."""

    point: RestorePoint
    path: bytes
    reason: str


@dataclass
class DrillOutcome:
    """What was read: files and their bytes, and what failed."""

    points: int = 0
    files: int = 0
    bytes: int = 0
    failures: list[DrilledFile] = field(default_factory=list)


def run_drill(
    repository: Repository,
    points: Sequence[RestorePoint],
    *,
    files: int = 50,
    most_bytes: int = 1 << 30,
    progress: Callable[[int], None] = lambda done: None,
    seed: int | None = None,
) -> DrillOutcome:
    """Read so many files of each restore point, each point until `most_bytes` are read of it.

    Args:
        progress: told the bytes read so far.

    Raises:
        KeyMissing, StorageError.
    """
    chance = random.Random(seed)
    outcome = DrillOutcome()
    read = BlobSource(repository).read
    for point in points:
        outcome.points += 1
        _drill_point(point, read, chance, outcome, files, outcome.bytes + most_bytes, progress)
    return outcome


def _drill_point(
    point: RestorePoint,
    read: ReadBlob,
    chance: random.Random,
    outcome: DrillOutcome,
    files: int,
    until: int,
    progress: Callable[[int], None],
) -> None:
    seen: set[bytes] = set()
    for _ in range(files * _TRIES):
        if len(seen) >= min(files, point.manifest.totals.files) or outcome.bytes >= until:
            return
        path = b""
        try:
            chosen = _choose(point.manifest.root, read, chance)
            if chosen is None:
                return
            path, entry = chosen
            if path in seen:
                continue
            seen.add(path)
            if not entry.has_content:
                continue
            size = 0
            for piece in file_bytes(entry, read):
                size += len(piece)
                outcome.bytes += len(piece)
                progress(outcome.bytes)
            outcome.files += 1
            if size != entry.size:
                outcome.failures.append(DrilledFile(point, path, f"it has {size} bytes, not {entry.size}"))
        except DamagedObject as error:
            seen.add(path or bytes(len(seen)))
            outcome.failures.append(DrilledFile(point, path or b"/", error.what))


def _choose(page: bytes, read: ReadBlob, chance: random.Random) -> tuple[bytes, Entry] | None:
    """A regular file below a page with its path, every file about as likely as any other."""
    path = b""
    while True:
        rows: list[Entry | PageRow] = [*decode_page(read(page), page)]
        weights = [_files_of(row) for row in rows]
        if not sum(weights):
            return None
        row = chance.choices(rows, weights)[0]
        if isinstance(row, PageRow):
            page = row.page
            continue
        path += b"/" + row.name
        if row.page is None:
            return path, row
        page = row.page


def _files_of(row: Entry | PageRow) -> int:
    if isinstance(row, Entry) and row.is_regular:
        return 1
    return row.totals.files if row.totals is not None else 0
