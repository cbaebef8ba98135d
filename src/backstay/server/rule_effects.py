"""What a content rule would leave out of what a restore point holds."""

import time
from dataclasses import dataclass

from backstay.domain.content_rule import ContentRule
from backstay.domain.entry import Entry, FileStat
from backstay.repository.browse import root_of
from backstay.repository.tree import iterate_folder
from backstay.server.browsing import OpenPoint

_MOST_ENTRIES = 20_000
_MOST_EXAMPLES = 50


@dataclass(frozen=True)
class LeftOut:
    """Something of a restore point that a rule would leave out; a folder with all that is below it."""

    path: bytes
    is_folder: bool
    files: int
    bytes: int
    reason: str


@dataclass(frozen=True)
class Effect:
    """What a rule would leave out of a restore point.

    Attributes:
        examples: the first of them.
        looked_at: entries that were compared; `complete`: these were all.
    """

    examples: tuple[LeftOut, ...]
    files: int
    bytes: int
    looked_at: int
    complete: bool


def effect_on(opened: OpenPoint, rule: ContentRule, *, seconds: float = 2.0) -> Effect:
    """Compare a rule with what a restore point holds; stops after some time, or many entries."""
    ends = time.monotonic() + seconds
    now_ns = time.time_ns()
    examples: list[LeftOut] = []
    files = size = looked_at = 0
    folders: list[tuple[bytes, Entry]] = [(b"", root_of(opened.point))]
    while folders:
        if looked_at >= _MOST_ENTRIES or time.monotonic() > ends:
            return Effect(tuple(examples), files, size, looked_at, False)
        above, folder = folders.pop()
        for entry in iterate_folder(folder.page, opened.read) if folder.page else ():
            looked_at += 1
            path = above + b"/" + entry.name if above else entry.name
            verdict = rule.verdict(path, entry.is_directory, _stat_of(entry), now_ns)
            if verdict.included:
                if entry.page is not None:
                    folders.append((path, entry))
                continue
            totals = entry.totals
            count = totals.files if entry.is_directory and totals else int(not entry.is_directory)
            length = totals.bytes if entry.is_directory and totals else entry.size
            files, size = files + count, size + length
            if len(examples) < _MOST_EXAMPLES:
                examples.append(LeftOut(b"/" + path, entry.is_directory, count, length, verdict.reason))
    return Effect(tuple(examples), files, size, looked_at, True)


def _stat_of(entry: Entry) -> FileStat:
    return FileStat(
        entry.name,
        entry.mode,
        entry.size,
        entry.mtime_ns,
        entry.ctime_ns,
        entry.inode,
        entry.uid,
        entry.gid,
        entry.nlink,
    )
