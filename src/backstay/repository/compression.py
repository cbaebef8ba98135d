"""Compression of frames: Zstandard (RFC 8878), one context a thread."""

import threading

import zstandard

# Chosen by measuring on 1 MiB frames of small files (docs/decisions/0006-compression.md): a third
# faster than level 3 for 6 % more bytes, and five times faster on what cannot be compressed. The
# small hash table stays in the cache also where two threads share a core.
_PARAMETERS = zstandard.ZstdCompressionParameters(
    window_log=20,
    hash_log=15,
    chain_log=12,
    search_log=1,
    min_match=5,
    strategy=zstandard.STRATEGY_FAST,
    write_content_size=True,
    write_checksum=False,
)

_local = threading.local()


def compress(data: bytes | bytearray | memoryview) -> bytes:
    """One Zstandard frame that carries its content size."""
    try:
        compressor: zstandard.ZstdCompressor = _local.compressor
    except AttributeError:
        compressor = _local.compressor = zstandard.ZstdCompressor(compression_params=_PARAMETERS)
    return compressor.compress(data)


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
