"""Listing directories: every entry with its stat, sorted by name, in bounded memory."""

import heapq
import sys
from collections.abc import Iterator
from itertools import islice
from typing import BinaryIO

from backstay.filesystem.extras import stat_of
from backstay.filesystem.reasons import reason_of
from backstay.system.calls import os

_SORTED_IN_MEMORY = 65_536
_ENCODING, _ERRORS = sys.getfilesystemencoding(), sys.getfilesystemencodeerrors()

Listed = tuple[bytes, int, int, int, int, int, int, int, int]
"""The fields of a FileStat: a plain tuple, as millions of them are made."""


def list_directory(
    dir_fd: int, device: int, foreign: set[bytes], problems: list[tuple[bytes, str]]
) -> list[Listed] | None:
    """All entries of an open directory, sorted by name; None if there are too many to hold.

    An entry that vanishes before it is looked at is left out; one that cannot be looked
    at is added to `problems` with its reason.

    Args:
        device: the directory's st_dev.
        foreign: gets the names of entries on another device: mount points.

    Raises:
        OSError: the directory cannot be listed.
    """
    listed: list[Listed] = []
    add = listed.append
    with os.scandir(dir_fd) as entries:
        for entry in islice(entries, _SORTED_IN_MEMORY):
            try:
                st = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            except OSError as error:
                problems.append((os.fsencode(entry.name), reason_of(error)))
                continue
            name = entry.name.encode(_ENCODING, _ERRORS)
            # As a tuple it gives these seven, at less than half the price of naming each.
            mode, inode, on_device, nlink, uid, gid, size = st[:7]
            add((name, mode, size, st.st_mtime_ns, st.st_ctime_ns, inode, uid, gid, nlink))
            if on_device != device:
                foreign.add(name)
        if next(entries, None) is not None:
            return None
    listed.sort()
    return listed


def list_names(dir_fd: int) -> Iterator[bytes]:
    """The names in an open directory, sorted, however many there are. Raises OSError."""
    spills: list[BinaryIO] = []
    batch: list[bytes] = []
    try:
        with os.scandir(dir_fd) as entries:
            for entry in entries:
                batch.append(os.fsencode(entry.name))
                if len(batch) >= _SORTED_IN_MEMORY:
                    spills.append(_spill(batch))
                    batch = []
        batch.sort()
        yield from heapq.merge(batch, *(_names_of(spill) for spill in spills))
    finally:
        for spill in spills:
            spill.close()


def _spill(names: list[bytes]) -> BinaryIO:
    # Hardly ever needed, and not quick to import.
    import tempfile

    names.sort()
    file: BinaryIO = tempfile.TemporaryFile(prefix="backstay-names-")  # noqa: SIM115 - closed by list_names
    # A name can hold any byte but NUL and the slash.
    file.write(b"\0".join(names))
    file.seek(0)
    return file


def _names_of(file: BinaryIO) -> Iterator[bytes]:
    rest = b""
    while block := file.read(1 << 16):
        *names, rest = (rest + block).split(b"\0")
        yield from names
    if rest:
        yield rest


def look_at(
    dir_fd: int, name: bytes, device: int, foreign: set[bytes], problems: list[tuple[bytes, str]]
) -> Listed | None:
    """One entry by its name, as `list_directory` gives it; None where it vanished or cannot be seen."""
    try:
        st = os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
    except FileNotFoundError:
        return None
    except OSError as error:
        problems.append((name, reason_of(error)))
        return None
    if st.st_dev != device:
        foreign.add(name)
    return stat_of(name, st)
