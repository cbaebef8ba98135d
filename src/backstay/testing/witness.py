"""What a folder holds and what a restore point says it held, in one comparable form.

Both are read with as little code as possible, and none of the restore's: the folder by
lstat(2) and read(2), the restore point page by page.
"""

import os
import stat
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from blake3 import blake3

from backstay.domain.entry import Entry
from backstay.repository.details import read_details
from backstay.repository.manifest import RestorePoint
from backstay.repository.pack import PREFIX
from backstay.repository.repository import Repository
from backstay.repository.tree import decode_chunks, decode_page, iterate_chunks, iterate_folder


class Seen(NamedTuple):
    """One entry: stat fields, content or link target, extended attributes, and its other names."""

    mode: int
    uid: int
    gid: int
    mtime_ns: int
    content: bytes
    xattrs: tuple[tuple[bytes, bytes], ...] = ()
    links: tuple[bytes, ...] = ()


def seen_in_folder(folder: bytes) -> dict[bytes, Seen]:
    """Everything below a folder, by path relative to it; the folder itself as the empty path."""
    found: dict[bytes, Seen] = {}
    names: defaultdict[tuple[int, int], list[bytes]] = defaultdict(list)

    def look(path: bytes, below: bytes) -> None:
        st = os.lstat(path)
        content = b""
        if stat.S_ISREG(st.st_mode):
            content = blake3(Path(os.fsdecode(path)).read_bytes()).digest()
        elif stat.S_ISLNK(st.st_mode):
            content = os.readlink(path)
        xattrs = tuple(
            sorted(
                (os.fsencode(name), os.getxattr(path, name, follow_symlinks=False))
                for name in os.listxattr(path, follow_symlinks=False)
            )
        )
        found[below] = Seen(st.st_mode, st.st_uid, st.st_gid, st.st_mtime_ns, content, xattrs)
        if stat.S_ISDIR(st.st_mode):
            for name in os.listdir(path):
                look(path + b"/" + name, below + b"/" + name if below else name)
        elif st.st_nlink > 1:
            names[st.st_dev, st.st_ino].append(below)

    look(folder, b"")
    return _tied(found, names)


def _tied(found: dict[bytes, Seen], names: defaultdict[tuple[int, int], list[bytes]]) -> dict[bytes, Seen]:
    for group in names.values():
        for name in group:
            found[name] = found[name]._replace(links=tuple(sorted(group)))
    return found


def seen_in_point(repository: Repository, point: RestorePoint, folder: bytes) -> dict[bytes, Seen]:
    """The same of a restore point, for the folder that was backed up from this absolute path.

    Raises:
        DamagedObject: something in it cannot be read.
    """
    read = repository.reader_of(repository.load_index()).read
    found: dict[bytes, Seen] = {}
    names: defaultdict[tuple[int, int], list[bytes]] = defaultdict(list)

    def look(entry: Entry, below: bytes) -> None:
        content = entry.inline or b""
        if entry.is_regular:
            content = blake3(_content_of(entry, read)).digest()
        found[below] = Seen(
            entry.mode, entry.uid, entry.gid, entry.mtime_ns, content, tuple(sorted(entry.xattrs))
        )
        if entry.is_directory:
            assert entry.page is not None
            for child in iterate_folder(entry.page, read):
                look(child, below + b"/" + child.name if below else child.name)
        elif entry.device:
            names[entry.device, entry.inode].append(below)

    top: Entry | None = None
    page = point.manifest.root
    for part in folder.strip(b"/").split(b"/"):
        top = next((entry for entry in iterate_folder(page, read) if entry.name == part), None)
        if top is None:
            return {}
        page = top.page or b""
    assert top is not None
    look(top, b"")
    return _tied(found, names)


def _content_of(entry: Entry, read: Callable[[bytes], bytes]) -> bytes:
    if entry.inline is not None:
        return entry.inline
    return b"".join(
        bytes(chunk.length) if chunk.blob is None else read(chunk.blob)
        for chunk in iterate_chunks(entry.chunks or (), read)
    )


def needed_blobs(repository: Repository, points: list[RestorePoint]) -> set[bytes]:
    """Prefixes of all blobs that these restore points need, found by opening every page.

    Raises:
        DamagedObject: a page cannot be read.
    """
    read = repository.reader_of(repository.load_index()).read
    needed: set[bytes] = set()

    def page(page_id: bytes) -> None:
        if page_id[:PREFIX] in needed:
            return
        needed.add(page_id[:PREFIX])
        for row in decode_page(read(page_id), page_id):
            if row.page is not None:
                page(row.page)
            elif isinstance(row, Entry):
                needed.update(_chunk_blobs(row, read))

    for point in points:
        page(point.manifest.root)
        needed.add(point.manifest.details[:PREFIX])
        needed.update(blob[:PREFIX] for blob in read_details(point.manifest.details, read).problems)
    return needed


def _chunk_blobs(entry: Entry, read: Callable[[bytes], bytes]) -> Iterator[bytes]:
    waiting = list(entry.chunks or ())
    while waiting:
        chunk = waiting.pop()
        if chunk.blob is not None:
            yield chunk.blob[:PREFIX]
            if chunk.depth:
                waiting += decode_chunks(read(chunk.blob), chunk.blob)
