"""Where a long folder is cut into pages: at places that its names decide."""

import zlib

SEGMENT_ENTRIES = 512
"""Entries of a page of a split folder, on average."""

MOST_ENTRIES = 4096
"""No page has more rows than this."""


def ends_segment(name: bytes) -> bool:
    """Whether a page of a split folder ends after the entry of this name.

    It depends on the name alone, so that an added or removed file moves no other boundary.
    """
    return zlib.crc32(name) % SEGMENT_ENTRIES == 0
