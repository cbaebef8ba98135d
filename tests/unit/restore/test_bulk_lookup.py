"""Looking many blobs up at once gives what looking up each of them gives."""

import os
import random
from array import array

import numpy as np

from backstay.repository.bulk_lookup import NOWHERE, BulkLookup
from backstay.repository.index import Index, Run, RunBuilder
from backstay.repository.pack import Trailer


def run_of(folder, packs: dict[bytes, list[bytes]]) -> Run:
    """A run that lists these packs with these blobs, each in a frame of its own."""
    builder = RunBuilder()
    for digest, blobs in packs.items():
        trailer = Trailer(b"s" * 16, [])
        for number, blob in enumerate(blobs):
            trailer.add(blob, 0, number, number * 10, 10, b"")
        builder.add_pack(digest, 1000, trailer)
    path = folder / os.urandom(4).hex()
    path.write_bytes(builder.encode())
    return Run(path)


def test_as_one_by_one(tmp_path):
    """Over several runs, with condemned packs, blobs in two packs, unknown ones, equal halves of ids."""
    noise = random.Random(6)
    blobs = [noise.randbytes(32) for _ in range(400)]
    blobs += [blobs[0][:8] + noise.randbytes(24), blobs[1][:16] + noise.randbytes(16)]
    packs = [noise.randbytes(32) for _ in range(6)]
    runs = [
        run_of(tmp_path, {packs[0]: blobs[:100], packs[1]: blobs[100:150]}),
        run_of(tmp_path, {packs[2]: blobs[90:220], packs[3]: blobs[400:401]}),
        run_of(tmp_path, {packs[4]: blobs[130:160], packs[5]: blobs[220:300]}),
    ]
    index = Index(runs, frozenset([packs[1], packs[5]]))
    lookup = BulkLookup(index)
    wanted = [noise.choice(blobs) for _ in range(2000)] + blobs
    column = np.frombuffer(b"".join(wanted), "V32")
    places = lookup.locate(column[:700]), lookup.locate(column[700:])
    keys = array("Q", [key for part in places for key in part.keys.tolist()])
    offsets = [offset for part in places for offset in part.offsets.tolist()]
    for blob, key, offset in zip(wanted, keys, offsets, strict=True):
        location = index.locate(blob)
        if location is None:
            assert key == NOWHERE
        else:
            assert (lookup.packs[key >> 32], key & 0xFFFFFFFF, offset) == location[:3]
    assert {NOWHERE} != set(keys.tolist())
