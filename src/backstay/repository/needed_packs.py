"""The packs that a restore point needs, found from trailers alone."""

from collections.abc import Iterator

import numpy as np

from backstay.domain.errors import RepositoryError
from backstay.repository.index import Index
from backstay.repository.index_merge import run_columns
from backstay.repository.manifest import RestorePoint
from backstay.repository.reachability import References, roots_of, rows_of
from backstay.repository.repository import Repository

_BATCH = 1 << 18


def packs_needed_by(repository: Repository, point: RestorePoint) -> frozenset[bytes]:
    """Digests of all packs in which something lies that the restore point needs, every copy of it counted.

    Raises:
        RepositoryError: it cannot be known, as the index is damaged.
        StorageError.
    """
    index = repository.load_index()
    references = References.load(repository.storage, index, repository.secrets.catalogue_key)
    if point.manifest.root[:16] not in references:
        raise RepositoryError(
            f"the folders of restore point {point.short_id} are not in the index",
            hint="run `backstay repo rebuild`, then `backstay repo verify`",
        )
    packs: set[bytes] = set()
    for batch in _batches(references.from_roots(roots_of([point]))):
        packs.update(_packs_of(index, batch))
    return frozenset(packs)


def _batches(prefixes: Iterator[bytes]) -> Iterator[bytes]:
    batch: list[bytes] = []
    for prefix in prefixes:
        batch.append(prefix)
        if len(batch) >= _BATCH:
            yield b"".join(batch)
            batch = []
    if batch:
        yield b"".join(batch)


def _packs_of(index: Index, prefixes: bytes) -> Iterator[bytes]:
    keys = np.unique(np.frombuffer(prefixes, dtype=">u8").astype(np.uint64).reshape(-1, 2), axis=0)
    for run in index.runs:
        columns, packs = run_columns(run), list(run.packs())
        for _, rows in rows_of(columns, keys):
            for number in np.unique(columns[2][rows]).tolist():
                yield packs[number].digest
