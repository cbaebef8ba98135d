"""Replacing the index in the repository: many runs by few, without packs that are gone."""

import tempfile
from collections.abc import Container
from pathlib import Path

from blake3 import blake3

from backstay.repository.encryption import seal
from backstay.repository.index import MAGIC, Index
from backstay.repository.layout import INDEX, object_name
from backstay.storage.interface import Storage

PART_ENTRIES = 1 << 22
"""An index run that replaces others has about this many entries (128 MiB)."""


def replace_index(
    storage: Storage, catalogue_key: bytes, index: Index, *, without: Container[bytes] = frozenset()
) -> None:
    """Put the merge of the index's runs in their place; entries of the packs in `without` are left out.

    The new runs are durable before the old ones go, so a crash leaves entries twice at
    worst. Runs that others put meanwhile stay.

    Raises:
        StorageError.
    """
    from backstay.repository.index_merge import merge_runs

    total = sum(run.entries for run in index.runs)
    parts = max(1, -(-total // PART_ENTRIES))
    new: set[bytes] = set()
    with tempfile.TemporaryDirectory(prefix="backstay-index-") as folder:
        path = Path(folder) / "merged"
        for part in range(parts):
            bounds = {"first": (part << 64) // parts, "last": ((part + 1) << 64) // parts}
            if merge_runs(index.runs, path, without=without, **bounds):
                new.add(put_run(storage, catalogue_key, path.read_bytes()))
    storage.sync()
    for digest in index.sources - new:
        storage.delete(object_name(INDEX, digest))
    storage.sync()


def put_run(storage: Storage, catalogue_key: bytes, encoded: bytes) -> bytes:
    """Store a run, and return the digest of its object. Not durable before the next sync."""
    sealed = seal(catalogue_key, MAGIC, encoded)
    digest: bytes = blake3(sealed, max_threads=blake3.AUTO).digest()
    storage.put(object_name(INDEX, digest), [sealed])
    return digest
