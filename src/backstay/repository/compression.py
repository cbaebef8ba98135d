"""Compression of frames: Zstandard (RFC 8878), one context a thread."""

import threading

import zstandard

LEVEL = 3
"""Measured in bench/RESULTS.md: smaller than restic's repositories, and fast."""

_local = threading.local()


def compress(data: bytes | bytearray | memoryview) -> bytes:
    """One Zstandard frame that carries its content size."""
    try:
        compressor: zstandard.ZstdCompressor = _local.compressor
    except AttributeError:
        compressor = _local.compressor = zstandard.ZstdCompressor(level=LEVEL, write_checksum=False)
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
        content = decompressor.decompress(data, max_output_size=length)
    except zstandard.ZstdError as error:
        raise ValueError(f"it cannot be decompressed ({error})") from error
    if len(content) != length:
        raise ValueError(f"the compressed frame does not hold {length} bytes")
    return content
