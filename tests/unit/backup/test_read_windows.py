"""Memory for windows of large files: used again, yet never while anything refers to it."""

from backstay.backup.windows import Windows
from backstay.filesystem.reader import WINDOW
from backstay.repository.chunker import MAXIMUM


def test_a_window_in_use_is_not_given_again() -> None:
    """As long as a piece of a window is referred to, another one is given."""
    windows = Windows()
    first = windows.take()
    piece = first[10:20]
    del first
    second = windows.take()
    second[10:20] = b"overwrites"
    assert bytes(piece) == bytes(10)


def test_a_window_that_nobody_uses_is_given_again() -> None:
    """Memory stays bounded: what is free again is the next to be taken, and is as long as before."""
    windows = Windows()
    window = windows.take()
    window[0] = 7
    assert len(window) == WINDOW + MAXIMUM
    del window
    again = windows.take()
    assert (again[0], len(again)) == (7, WINDOW + MAXIMUM)
