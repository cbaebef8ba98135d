"""Cutting large content at places that the content itself decides.

FastCDC (Xia et al., "The Design of Fast Content-Defined Chunking", IEEE TPDS 2020),
seeded per repository so that chunk lengths do not reveal known content.
"""

import pyfastcdc
from blake3 import blake3
from pyfastcdc import FastCDC

from backstay.domain.errors import BackstayError

SMALL_FILE = 1 << 20
"""Content up to this many bytes is one blob, uncut."""

MINIMUM = 256 << 10
AVERAGE = 1 << 20
MAXIMUM = 4 << 20

_SEED_CONTEXT = "backstay 2026 chunker seed"


class Chunker:
    """Cuts buffers into chunks of 256 KiB to 4 MiB. Not safe for concurrent use.

    Args:
        id_key: the repository's id key; the gear table's seed is derived from it.

    Raises:
        BackstayError: only the slow pure Python chunker is there.
    """

    def __init__(self, id_key: bytes) -> None:
        if not FastCDC.__module__.startswith("pyfastcdc.cy"):
            raise BackstayError(
                f"the native part of pyfastcdc {pyfastcdc.__version__} is missing",
                hint="reinstall the pyfastcdc wheel for this Python",
            )
        seed = blake3(id_key, derive_key_context=_SEED_CONTEXT).digest(8)
        self._cdc = FastCDC(
            AVERAGE,
            min_size=MINIMUM,
            max_size=MAXIMUM,
            normalized_chunking=2,
            # pyfastcdc shifts the seed left by one, within 64 bits.
            seed=int.from_bytes(seed, "little") >> 1,
        )

    def cut(self, buffer: memoryview, *, final: bool) -> list[int]:
        """Lengths of the chunks at the start of `buffer`.

        With `final` they cover it wholly; otherwise the last one is left out,
        because what follows may move its end.
        """
        lengths = [chunk.length for chunk in self._cdc.cut_buf(buffer)]
        if not final and lengths and (len(lengths) > 1 or lengths[0] < MAXIMUM):
            lengths.pop()
        return lengths
