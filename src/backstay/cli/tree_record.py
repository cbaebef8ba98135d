"""What a tree looks like, entry by entry, so that two can be compared without trusting a backup."""

import hashlib
import os
import stat
from pathlib import Path
from typing import NamedTuple


class Look(NamedTuple):
    """Everything of an entry that a restore has to bring back; `content` is a digest or a link's target."""

    mode: int
    uid: int
    gid: int
    mtime_ns: int
    content: bytes
    xattrs: tuple[tuple[str, bytes], ...]
    linked_with: bytes
    """The first name, in sorted order, of the same inode."""


def record_tree(top: Path) -> dict[bytes, Look]:
    """Every entry below `top` by its relative path. Raises OSError where something cannot be read."""
    root = os.fsencode(top)
    found: dict[bytes, Look] = {}
    first_names: dict[tuple[int, int], bytes] = {}
    waiting = [b""]
    while waiting:
        folder = waiting.pop()
        for name in sorted(os.listdir(root + b"/" + folder)):
            path = folder + b"/" + name if folder else name
            found[path] = look = _look(root + b"/" + path, path, first_names)
            if stat.S_ISDIR(look.mode):
                waiting.append(path)
    return found


def differences(expected: dict[bytes, Look], actual: dict[bytes, Look]) -> list[str]:
    """Each path that is not the same in both, with what differs."""
    lines = []
    for path in sorted(expected.keys() | actual.keys()):
        one, other = expected.get(path), actual.get(path)
        if one is None or other is None:
            what = "missing" if other is None else "should not be there"
        elif one != other:
            pairs = zip(Look._fields, one, other, strict=True)
            what = "other " + ", ".join(name for name, mine, theirs in pairs if mine != theirs)
        else:
            continue
        lines.append(f"{os.fsdecode(path)}: {what}")
    return lines


def _look(full: bytes, path: bytes, first_names: dict[tuple[int, int], bytes]) -> Look:
    st = os.lstat(full)
    content = b""
    if stat.S_ISREG(st.st_mode):
        content = _digest(full)
    elif stat.S_ISLNK(st.st_mode):
        content = os.readlink(full)
    xattrs = tuple(
        (name, os.getxattr(full, name, follow_symlinks=False))
        for name in sorted(os.listxattr(full, follow_symlinks=False))
    )
    linked_with = b""
    if st.st_nlink > 1 and not stat.S_ISDIR(st.st_mode):
        linked_with = first_names.setdefault((st.st_dev, st.st_ino), path)
    return Look(st.st_mode, st.st_uid, st.st_gid, st.st_mtime_ns, content, xattrs, linked_with)


def _digest(full: bytes) -> bytes:
    with Path(os.fsdecode(full)).open("rb") as file:
        return hashlib.file_digest(file, "blake2b").digest()
