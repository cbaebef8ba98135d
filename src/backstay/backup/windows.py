"""Memory that large files are read into, used again when nothing refers to it any more.

Fresh memory of several megabytes costs more than reading a file into it: the kernel has to find and to
clear every page.
"""

from backstay.filesystem.reader import WINDOW
from backstay.repository.chunker import MAXIMUM


class Windows:
    """Buffers that hold a window of a file, and before it the chunk that the window before has begun."""

    def __init__(self) -> None:
        self._buffers: list[bytearray] = []

    def take(self) -> memoryview:
        """A buffer that no view refers to, of at least WINDOW + MAXIMUM bytes."""
        for buffer in self._buffers:
            if not _is_in_use(buffer):
                return memoryview(buffer)
        buffer = bytearray(WINDOW + MAXIMUM)
        self._buffers.append(buffer)
        return memoryview(buffer)


def _is_in_use(buffer: bytearray) -> bool:
    """Whether a view of the buffer is left: it cannot be resized then."""
    try:
        buffer.pop()
    except BufferError:
        return True
    buffer.append(0)
    return False
