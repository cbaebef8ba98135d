"""Compression of frames: Zstandard (RFC 8878), one context a thread."""

import threading

import zstandard


def _fast(least_match: int) -> zstandard.ZstdCompressionParameters:
    # The small hash table stays in the cache also where two threads share a core.
    return zstandard.ZstdCompressionParameters(
        window_log=20,
        hash_log=15,
        chain_log=12,
        search_log=1,
        min_match=least_match,
        strategy=zstandard.STRATEGY_FAST,
        write_content_size=True,
        write_checksum=False,
    )


# Chosen by measuring (docs/decisions/0006-compression.md): in many small files together, matches
# shorter than seven bytes cost more time than they save bytes; in large text files they count.
_OF_MANY = _fast(7)
_OF_ONE = _fast(5)

_local = threading.local()


def compress(data: bytes | bytearray | memoryview, *, of_many: bool = False) -> bytes:
    """One Zstandard frame that carries its content size.

    Args:
        of_many: the data are many small pieces, where speed counts for more than the last bytes.
    """
    try:
        compressors: tuple[zstandard.ZstdCompressor, zstandard.ZstdCompressor] = _local.compressors
    except AttributeError:
        compressors = _local.compressors = (
            zstandard.ZstdCompressor(compression_params=_OF_ONE),
            zstandard.ZstdCompressor(compression_params=_OF_MANY),
        )
    return compressors[of_many].compress(data)


def decompress(data: bytes | bytearray | memoryview, length: int) -> bytes:
    """The content of one Zstandard frame, which must be `length` bytes.

    Raises:
        ValueError: it is no Zstandard frame, or of another length.
    """
    try:
        decompressor: zstandard.ZstdDecompressor = _local.decompressor
    except AttributeError:
        decompressor = _local.decompressor = zstandard.ZstdDecompressor()
    try:
        if zstandard.frame_content_size(data) != length:
            raise ValueError(f"the compressed frame does not hold {length} bytes")
        content = decompressor.decompress(data, max_output_size=length, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise ValueError(f"it cannot be decompressed ({error})") from error
    if len(content) != length:
        raise ValueError(f"the compressed frame does not hold {length} bytes")
    return content
