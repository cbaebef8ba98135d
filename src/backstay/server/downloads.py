"""Files and folders out of a restore point, as streams; and what a browser may show of a file."""

import stat
import time
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from blake3 import blake3

from backstay.domain.entry import Entry
from backstay.domain.errors import DamagedObject, RepositoryError, UsageError
from backstay.repository.browse import walk_folder
from backstay.repository.content import FileContent
from backstay.server.browsing import OpenPoint

_PIECE = 1 << 20
_MOST_LISTED = 10_000
NOT_INCLUDED = "NOT INCLUDED.txt"

MOST_TEXT = 256 << 10
"""So many bytes of a text are shown."""

MOST_IMAGE = 20 << 20
"""Larger images are only downloaded."""

_IMAGES = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"BM", "image/bmp"),
)


@dataclass(frozen=True)
class Preview:
    """What is shown of a file: of text the beginning, in UTF-8; an image whole."""

    media_type: str
    content: bytes
    truncated: bool


def content_of(opened: OpenPoint, entry: Entry) -> FileContent:
    """Random access to a file's content. Raises UsageError where it is no file, or none was captured."""
    try:
        return FileContent(entry, opened.read)
    except DamagedObject:
        raise
    except RepositoryError as error:
        raise UsageError(error.what, hint="look at its other versions") from error


def pieces(content: FileContent, offset: int, length: int) -> Iterator[bytes]:
    """A range of a file, a megabyte at a time. Raises DamagedObject, StorageError."""
    end = min(content.size, offset + length)
    while offset < end:
        piece = content.read(offset, min(_PIECE, end - offset))
        if not piece:
            raise DamagedObject("a file's content", "it ends before the file does")
        yield piece
        offset += len(piece)


def preview_of(opened: OpenPoint, entry: Entry) -> Preview:
    """What a browser may show of a file: told by its content alone, never what could run there.

    Raises:
        UsageError: it is no text, and no image of a known kind.
        DamagedObject, StorageError.
    """
    content = content_of(opened, entry)
    head = content.read(0, MOST_TEXT)
    kind = _image_type(head)
    if kind and content.size <= MOST_IMAGE:
        return Preview(kind, b"".join(pieces(content, 0, content.size)), False)
    if kind or (b"\0" in head[:8192] and not head.startswith((b"\xff\xfe", b"\xfe\xff"))):
        raise UsageError("there is no preview of such a file", hint="download it")
    encoding = "utf-16" if head.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    try:
        text = head.decode(encoding)
    except UnicodeDecodeError as error:
        at_the_end = error.start >= len(head) - 4 and content.size > len(head)
        text = head.decode(encoding if at_the_end else "latin-1", "ignore")
    return Preview("text/plain; charset=utf-8", text.encode(), content.size > len(head))


def _image_type(head: bytes) -> str:
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image/webp"
    return next((kind for magic, kind in _IMAGES if head.startswith(magic)), "")


class _Sink:
    """Takes what zipfile writes, which cannot seek in it."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._parts.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        return

    def take(self) -> bytes:
        data = b"".join(self._parts)
        self._parts.clear()
        return data


def zip_of(opened: OpenPoint, folder: Entry, path: bytes) -> Iterator[bytes]:
    """A folder with all below it; see `zip_of_chosen`."""
    return zip_of_chosen(opened, [(path, folder)])


def zip_of_chosen(opened: OpenPoint, chosen: Sequence[tuple[bytes, Entry]]) -> Iterator[bytes]:
    """Files, and folders with all below them, as a ZIP file (with ZIP64), made while it is read.

    Nothing is kept on disk. Names are such that no unpacker leaves its folder. Links and special files, and
    files without content, are left out: a list at the end says so.

    Args:
        chosen: paths with their entries.

    Raises:
        DamagedObject, StorageError: in the middle of a file; the archive then has no end.
    """
    sink = _Sink()
    left_out: list[str] = []
    tops = [_safe(path.rstrip(b"/").rpartition(b"/")[2]) for path, _ in chosen]
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:  # type: ignore[call-overload]
        for (_, top_entry), top in zip(chosen, tops, strict=True):
            for name, entry in _named(opened, top_entry, top or f"restore-point-{opened.point.short_id}"):
                if entry.is_directory:
                    archive.writestr(_info(f"{name}/", entry), b"")
                elif entry.is_regular and entry.has_content:
                    yield from _add_file(
                        archive, sink, _info(name, entry), FileContent(entry, opened.read), left_out
                    )
                else:
                    why = "could not be read when it was backed up" if entry.is_regular else "no regular file"
                    _leave_out(left_out, name, why)
                yield sink.take()
        if left_out:
            whole = len(chosen) == 1 and chosen[0][1].is_directory
            place = f"{tops[0] or f'restore-point-{opened.point.short_id}'}/" if whole else ""
            archive.writestr(f"{place}{NOT_INCLUDED}", "\n".join(left_out) + "\n")
    yield sink.take()


def _named(opened: OpenPoint, top_entry: Entry, top: str) -> Iterator[tuple[str, Entry]]:
    yield top, top_entry
    for below, entry in walk_folder(top_entry, b"", opened.read):
        yield "/".join([top, *(_safe(part) for part in below.split(b"/") if part)]), entry


def _add_file(
    archive: zipfile.ZipFile, sink: _Sink, info: zipfile.ZipInfo, content: FileContent, left_out: list[str]
) -> Iterator[bytes]:
    parts = pieces(content, 0, content.size)
    try:
        first = next(parts, b"")
    except DamagedObject as error:
        _leave_out(left_out, info.filename, error.what)
        return
    with archive.open(info, "w", force_zip64=content.size >= 1 << 31) as file:
        file.write(first)
        for part in parts:
            file.write(part)
            yield sink.take()


def _leave_out(left_out: list[str], name: str, why: str) -> None:
    if len(left_out) < _MOST_LISTED:
        left_out.append(f"{name}: {why}")
    elif len(left_out) == _MOST_LISTED:
        left_out.append("… and more")


def _info(name: str, entry: Entry) -> zipfile.ZipInfo:
    moment = time.gmtime(min(max(entry.mtime_ns / 1e9, 315_532_800), 4_354_819_198))
    info = zipfile.ZipInfo(name, moment[:6])
    info.compress_type = zipfile.ZIP_DEFLATED
    mode = stat.S_IMODE(entry.mode) & 0o777
    info.external_attr = ((stat.S_IFDIR if name.endswith("/") else stat.S_IFREG) | mode) << 16
    return info


_UNSAFE = frozenset("\\:/\x7f") | {chr(code) for code in range(32)}


def _safe(name: bytes) -> str:
    """A name that means the same everywhere; one that had to be changed ends with what makes it unique."""
    text = name.decode("utf-8", "replace")
    safe = "".join("_" if sign in _UNSAFE else sign for sign in text)
    if safe in {".", ".."}:
        safe = "_"
    return safe if safe.encode() == name else f"{safe}~{blake3(name).hexdigest()[:6]}"
