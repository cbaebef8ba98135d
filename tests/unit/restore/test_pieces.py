"""Pieces come back in the order of the repository, each once, with every frame in one batch only."""

import random

from backstay.repository.index import Index, Run, RunBuilder
from backstay.repository.pack import Trailer
from backstay.restore.pieces import Pieces


def index_of(folder, packs: dict[bytes, list[list[bytes]]]) -> Index:
    """An index of these packs: for each its frames, for each of those its blobs."""
    builder = RunBuilder()
    for digest, frames in packs.items():
        trailer = Trailer(b"s" * 16, [])
        for number, blobs in enumerate(frames):
            for place, blob in enumerate(blobs):
                trailer.add(blob, 0, number, place * 100, 100, b"")
        builder.add_pack(digest, 1000, trailer)
    path = folder / "run"
    path.write_bytes(builder.encode())
    return Index([Run(path)])


def test_every_frame_once(tmp_path):
    """However the files need them, no frame is in two batches, and no piece is lost or doubled."""
    noise = random.Random(8)
    packs = {
        noise.randbytes(32): [[noise.randbytes(32) for _ in range(20)] for _ in range(40)] for _ in range(3)
    }
    where = {
        blob: (digest, number, place * 100)
        for digest, frames in packs.items()
        for number, blobs in enumerate(frames)
        for place, blob in enumerate(blobs)
    }
    wanted = [*noise.choices(list(where), k=3000), b"?" * 32]
    pieces = Pieces()
    for number, blob in enumerate(wanted):
        pieces.add(blob, 100, number, number * 7)
    pieces.arrange(index_of(tmp_path, packs))
    seen: list[tuple[bytes | None, int]] = []
    files: list[int] = []
    order: list[bytes | None] = []
    for batch in pieces.batches():
        order.append(batch.pack)
        for frame in batch.frames:
            seen.append((batch.pack, frame.number))
            for piece in pieces.between(frame.start, frame.stop):
                assert piece.blob == wanted[piece.file]
                assert piece.at == piece.file * 7
                if batch.pack is not None:
                    assert where[piece.blob] == (batch.pack, frame.number, piece.offset)
                files.append(piece.file)
    pieces.close()
    assert sorted(files) == list(range(len(wanted)))
    assert len(seen) == len(set(seen))
    first_needed = list(dict.fromkeys(where[blob][0] for blob in wanted[:-1]))
    assert list(dict.fromkeys(order)) == [*first_needed, None]
