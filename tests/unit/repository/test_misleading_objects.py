"""Objects that were damaged, or forged with a stolen credential, do not make anyone lose data."""

import os
from pathlib import Path

import pytest

from backstay.backup.progress import Silent
from backstay.backup.workflow import BackupRequest, run_backup
from backstay.domain.entry import Entry
from backstay.domain.errors import RepositoryError
from backstay.repository.encryption import FrameKey
from backstay.repository.index import PackRecord, RunBuilder
from backstay.repository.index_store import put_run
from backstay.repository.layout import pack_name
from backstay.repository.pack import HEAD, BlobKind, FrameRecord, Trailer, read_trailer
from backstay.repository.prune import run_prune
from backstay.repository.rebuild import run_rebuild
from backstay.repository.repository import Repository
from backstay.repository.tombstone import Tombstone, put_tombstone
from backstay.repository.tree import iterate_chunks, iterate_folder
from backstay.repository.verify import run_verify
from backstay.storage.local import LocalStorage


class Protected:
    """A repository with one restore point of a few files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "repository"
        self.source = folder / "source"
        self.source.mkdir()
        for number in range(20):
            (self.source / f"{number}").write_bytes(os.urandom(3000))
        self.repository, _ = Repository.create(LocalStorage(self.folder, create=True), "pw")
        self.back_up()

    @property
    def key(self) -> bytes:
        """The catalogue key, which every file server has."""
        return self.repository.secrets.catalogue_key

    def back_up(self) -> None:
        """Make one more restore point."""
        run_backup(self.repository, BackupRequest([os.fsencode(self.source)]), Silent())

    def read_everything(self) -> int:
        """Read every blob of every restore point, through a fresh opening; how many files there were."""
        opened = Repository.open(LocalStorage(self.folder), "pw")
        reader = opened.reader()
        waiting, files = [point.manifest.root for point in opened.points()], 0
        while waiting:
            for entry in iterate_folder(waiting.pop(), reader.read):
                files += self._read(entry, reader.read, waiting)
        return files

    def _read(self, entry: Entry, read, waiting: list[bytes]) -> bool:  # type: ignore[no-untyped-def]
        if entry.page is not None:
            waiting.append(entry.page)
            return False
        for chunk in iterate_chunks(entry.chunks or (), read):
            assert chunk.blob is not None
            read(chunk.blob)
        return True


@pytest.fixture
def protected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Protected:
    """A repository with one restore point."""
    monkeypatch.setenv("BACKSTAY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("BACKSTAY_STATE", str(tmp_path / "state"))
    return Protected(tmp_path)


def metadata_pack(protected: Protected) -> tuple[bytes, Trailer]:
    """Digest and trailer of the pack that holds the pages."""
    storage = protected.repository.storage
    for info in storage.list("packs/"):
        trailer = read_trailer(storage, info.name, protected.key)
        if trailer.kind_bits() & 1 << BlobKind.PAGE:
            return bytes.fromhex(info.name[-64:]), trailer
    raise AssertionError("there is no metadata")


def test_a_damaged_tombstone_is_named_and_stops_only_pruning(protected: Protected) -> None:
    """With a tombstone that cannot be read all is read and backed up; prune refuses until a rebuild."""
    storage = protected.repository.storage
    digest, _ = metadata_pack(protected)
    name = put_tombstone(storage, protected.key, Tombstone(1, "unused", [digest], 1))
    path = protected.folder / name
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    assert protected.read_everything() == 20
    protected.back_up()
    assert [damage.name for damage in run_verify(protected.repository).damages] == [name]
    with pytest.raises(RepositoryError):
        run_prune(protected.repository, lambda points: [], grace_seconds=0)
    assert name in [damage.name for damage in run_rebuild(protected.repository).damages]
    run_prune(protected.repository, lambda points: [], grace_seconds=0)
    assert run_verify(protected.repository, data_percent=100).intact
    assert protected.read_everything() == 40


def test_a_run_that_denies_metadata_collects_nothing(protected: Protected) -> None:
    """A forged index run that says a pack holds no metadata does not hide what its pages refer to."""
    digest, _ = metadata_pack(protected)
    size = protected.repository.storage.size(pack_name(digest))
    forged = RunBuilder()
    forged.packs.append(PackRecord(digest, size, 1 << BlobKind.DATA))
    for _ in range(3):
        # Runs come in the order of their random names: one of these is the last word.
        put_run(protected.repository.storage, protected.key, forged.encode())
    run_prune(protected.repository, lambda points: [], grace_seconds=0)
    assert protected.read_everything() == 20


def test_a_trailer_that_denies_references_collects_nothing(protected: Protected) -> None:
    """A forged pack that claims a page and lists nothing below it does not have that collected."""
    storage, secrets = protected.repository.storage, protected.repository.secrets
    _, trailer = metadata_pack(protected)
    for attempt in range(3):
        sealed = FrameKey.new(secrets.public_key, secrets.repository_id).seal_frame(0, b"%d" % attempt)
        forged = Trailer(bytes(16), trailer.keys, [FrameRecord(8, len(sealed), 1000, 0, 0)])
        for blob in trailer.blobs():
            forged.add(blob.id, blob.kind, 0, 0, 1, b"")
        content = b"".join((HEAD, sealed, forged.encode(protected.key)))
        put_forged(protected, storage, content, forged)
    run_prune(protected.repository, lambda points: [], grace_seconds=0)
    kept = {blob.id for info in storage.list("packs/") for blob in blobs_of(protected, info.name)}
    assert {blob.id for blob in trailer.blobs()} <= kept
    data = [
        reference[at : at + 16] for reference in trailer.references for at in range(0, len(reference), 16)
    ]
    assert set(data) <= {blob_id[:16] for blob_id in kept}


def put_forged(protected: Protected, storage: LocalStorage, content: bytes, trailer: Trailer) -> None:
    """Store a forged pack, and a run that names it and none of its blobs."""
    from blake3 import blake3

    digest = blake3(content).digest()
    storage.put(pack_name(digest), [content])
    run = RunBuilder()
    run.packs.append(PackRecord(digest, len(content), trailer.kind_bits()))
    put_run(storage, protected.key, run.encode())


def blobs_of(protected: Protected, name: str):  # type: ignore[no-untyped-def]
    """The blobs of a pack."""
    return read_trailer(protected.repository.storage, name, protected.key).blobs()
