"""Whether one pack is what it claims: its name, frames, blobs, and what its metadata refers to."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from blake3 import blake3

from backstay.domain.entry import Entry
from backstay.domain.errors import DamagedObject, ObjectNotFound, UnsupportedVersion
from backstay.repository.blob_reader import BlobReader
from backstay.repository.details import read_details
from backstay.repository.layout import pack_name
from backstay.repository.pack import PREFIX, BlobKind, BlobRecord, Trailer, trailer_of
from backstay.repository.repository import Repository
from backstay.repository.tree import PageRow, decode_chunks, decode_page, references_of


@dataclass(frozen=True)
class PackCheck:
    """What is wrong with one pack: nothing of it can be used, or only some blobs cannot.

    Attributes:
        error: what is wrong; None: nothing.
        missing: there is no such pack.
        size, session: of the pack, as far as they could be read.
    """

    error: DamagedObject | None
    unusable: bool = False
    bad_blobs: list[bytes] = field(default_factory=list)
    missing: bool = False
    size: int = 0
    session: bytes = b""


def check_pack(repository: Repository, digest: bytes, reader: BlobReader) -> PackCheck:
    """Read a pack, and see whether its bytes are what its name says, and its blobs what their ids say.

    With a private key also whether each metadata blob refers to what its trailer says: garbage collection
    believes the trailer, so that a false one would have another's files collected.

    Raises:
        StorageError: the storage does not answer; says nothing about the pack.
    """
    name = pack_name(digest)
    try:
        content = repository.storage.get(name)
    except ObjectNotFound:
        return PackCheck(DamagedObject(name, "it is missing"), unusable=True, missing=True)
    error: DamagedObject | None = None
    if blake3(content).digest() != digest:
        error = DamagedObject(name, "its bytes are not what its name says")
    if not repository.secrets.can_read:
        # Without a private key it cannot be told which frames of it are still whole.
        return PackCheck(error, unusable=error is not None, size=len(content))
    try:
        trailer = trailer_of(content, repository.secrets.catalogue_key, name)
    except (DamagedObject, UnsupportedVersion):
        error = error or DamagedObject(name, "its trailer cannot be read")
        return PackCheck(error, unusable=True, size=len(content))
    bad: list[bytes] = []
    lies = 0
    for blob, piece in _pieces(digest, trailer, memoryview(content), reader):
        if len(piece) != blob.length or reader.blob_id(piece) != blob.id:
            bad.append(blob.id)
        elif blob.kind != BlobKind.DATA and not _refers_as_it_says(blob, piece):
            lies += 1
    if error is None and bad:
        error = DamagedObject(name, f"{len(bad)} blobs in it are not what their ids say")
    if error is None and lies:
        error = DamagedObject(name, f"its trailer says what is not so of {lies} pages in it")
    return PackCheck(error, bad_blobs=bad, size=len(content), session=trailer.session)


def _pieces(
    digest: bytes, trailer: Trailer, content: memoryview, reader: BlobReader
) -> Iterator[tuple[BlobRecord, bytes]]:
    """Every blob with its bytes; without any where its frame does not open."""
    number, raw = -1, b""
    for blob in trailer.blobs():
        if blob.frame != number:
            number = blob.frame
            record = trailer.frames[number]
            try:
                sealed = content[record.offset : record.offset + record.length]
                raw = reader.open_frame(digest, trailer, number, sealed)
            except DamagedObject:
                raw = b""
        yield blob, raw[blob.offset : blob.offset + blob.length]


def _refers_as_it_says(blob: BlobRecord, content: bytes) -> bool:
    try:
        true = _references(blob, content)
    except UnsupportedVersion:
        # Nobody here can tell, and nobody here relies on it.
        return True
    except DamagedObject:
        return False
    said = blob.references
    return true == {said[at : at + PREFIX] for at in range(0, len(said), PREFIX)}


def _references(blob: BlobRecord, content: bytes) -> set[bytes]:
    if blob.kind == BlobKind.PAGE:
        rows = decode_page(content, blob.id)
        joined = references_of([row for row in rows if isinstance(row, Entry)])
        found = {joined[at : at + PREFIX] for at in range(0, len(joined), PREFIX)}
        return found | {row.page[:PREFIX] for row in rows if isinstance(row, PageRow)}
    if blob.kind == BlobKind.CHUNKS:
        return {chunk.blob[:PREFIX] for chunk in decode_chunks(content, blob.id) if chunk.blob}
    try:
        details = read_details(blob.id, lambda _: content)
    except DamagedObject:
        # The other kind of details, a list of problems, refers to nothing.
        return set()
    return {problems[:PREFIX] for problems in details.problems}
