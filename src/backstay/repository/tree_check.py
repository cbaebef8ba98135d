"""What must hold of decoded pages before anything is restored from them.

A page is made by a file server that may have been taken over, so nothing in it is
believed: a name that climbs out of its folder, two entries of one name (a link and,
behind it, a folder), a size that is not what the chunks add up to.
"""

from collections.abc import Sequence

from backstay.domain.entry import Chunk, Entry, Grade, Totals
from backstay.domain.errors import DamagedObject

MOST_LEVELS = 16
"""No tree of pages, of a folder or of a chunk list, is higher than this."""

_KINDS = frozenset((0o010000, 0o020000, 0o040000, 0o060000, 0o100000, 0o120000, 0o140000))
_REGULAR = 0o100000
_DIRECTORY = 0o040000
_LINK = 0o120000
_ID = 32
_NUMBERS = 1 << 63
_SMALL_NUMBERS = 1 << 32
_GRADES = frozenset(Grade)


def check_entries(entries: Sequence[Entry], name: str) -> None:
    """Require that the entries of a page are possible, and sorted by name without repetition.

    Raises:
        DamagedObject: `name`, the page as errors call it, is none that a backup makes.
    """
    last = b""
    for entry in entries:
        if entry.name <= last:
            raise DamagedObject(name, "its names are not in order")
        last = entry.name
        why = _fault_of(entry)
        if why:
            raise DamagedObject(name, f"its entry {entry.name[:80]!r} {why}")


def _fault_of(entry: Entry) -> str:
    (name, mode, uid, gid, size, mtime_ns, ctime_ns, inode, nlink, grade) = entry[:10]
    (inline, chunks, page, device, _, flags, rdev, totals) = entry[10:18]
    if b"/" in name or b"\0" in name or name in {b".", b".."}:
        return "has an impossible name"
    kind = mode & 0o170000
    if kind not in _KINDS or not 0 <= mode < 1 << 16 or grade not in _GRADES:
        return "is of no known kind"
    if not (0 <= uid < _SMALL_NUMBERS and 0 <= gid < _SMALL_NUMBERS and 0 <= flags < _SMALL_NUMBERS):
        return "has an impossible owner or flags"
    if min(size, inode, nlink, device, rdev) < 0 or size >= _NUMBERS:
        return "has a number below zero or out of range"
    if not (-_NUMBERS <= mtime_ns < _NUMBERS and -_NUMBERS <= ctime_ns < _NUMBERS):
        return "has an impossible time"
    if kind == _DIRECTORY:
        if page is None or len(page) != _ID or inline is not None or chunks is not None:
            return "is a folder without a page"
        return _fault_of_totals(totals) if totals is not None else ""
    if page is not None or totals is not None:
        return "has a page and is no folder"
    if kind == _REGULAR:
        return _fault_of_content(size, inline, chunks)
    if chunks is not None or (inline is not None and (kind != _LINK or b"\0" in inline or not inline)):
        return "has content that its kind cannot have"
    return ""


def _fault_of_content(size: int, inline: bytes | None, chunks: tuple[Chunk, ...] | None) -> str:
    if inline is not None:
        return "" if chunks is None and len(inline) == size else "has content of another size"
    if chunks is None:
        return ""
    if fault := _fault_of_chunks(chunks):
        return fault
    return "" if sum(chunk.length for chunk in chunks) == size else "has content of another size"


def _fault_of_chunks(chunks: Sequence[Chunk]) -> str:
    for length, blob, depth in chunks:
        if not 0 < length < _NUMBERS:
            return "lists a chunk of impossible length"
        if not (0 <= depth <= MOST_LEVELS and (depth == 0 if blob is None else len(blob) == _ID)):
            return "lists an impossible chunk"
    return ""


def _fault_of_totals(totals: Totals) -> str:
    return "has impossible totals" if min(totals) < 0 else ""


def check_chunks(chunks: Sequence[Chunk], name: str) -> None:
    """Require that the rows of a page of a chunk list are possible. Raises DamagedObject."""
    if not chunks:
        raise DamagedObject(name, "it lists nothing")
    if fault := _fault_of_chunks(chunks):
        raise DamagedObject(name, f"it {fault}")


def check_rows(rows: Sequence[tuple[bytes, bytes, Totals]], name: str) -> None:
    """Require that the rows of a page above others are possible, and in order. Raises DamagedObject."""
    last = b""
    for number, (first, page, totals) in enumerate(rows):
        if (number and first <= last) or len(page) != _ID or min(totals) < 0:
            raise DamagedObject(name, "its rows are impossible or not in order")
        last = first
    if not rows:
        raise DamagedObject(name, "it lists nothing")
