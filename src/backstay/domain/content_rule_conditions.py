"""Typed conditions of a content rule: size, age, kind of file, cache folder.

A condition stands in brackets before the pattern of its line, several are joined by commas and must all hold:

    [size > 4GiB] *.iso
    [age > 2y, type file] /srv/scratch/**
    [type socket]
    [cachedir]

Size holds for regular files only and age for everything but folders: a folder's own time says nothing of
the files below it, and leaving a folder out leaves out all of them.
"""

import operator
import re
import stat
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from backstay.domain.errors import RuleError, UsageError
from backstay.domain.size import parse_duration, parse_size

_COMPARISONS: dict[str, Callable[[int, int], bool]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}
_FORMATS: dict[str, frozenset[int]] = {
    "file": frozenset({stat.S_IFREG}),
    "directory": frozenset({stat.S_IFDIR}),
    "symlink": frozenset({stat.S_IFLNK}),
    "socket": frozenset({stat.S_IFSOCK}),
    "fifo": frozenset({stat.S_IFIFO}),
    "device": frozenset({stat.S_IFBLK, stat.S_IFCHR}),
}
_OPENING = re.compile(rb"\[ *(?:size|age|type|cachedir)\b")
_ONE = re.compile(r"(size|age) *(>=|<=|>|<) *(.+)|(type) +(.+)|(cachedir)")


@dataclass(frozen=True)
class SizeCondition:
    """Holds for regular files whose size in bytes compares so."""

    comparison: str
    size: int
    fits_directories: ClassVar[bool] = False

    def holds(self, mode: int, size: int, mtime_ns: int, now_ns: int, cache_tag: bool) -> bool:
        """Whether an entry with these facts fits."""
        return stat.S_ISREG(mode) and _COMPARISONS[self.comparison](size, self.size)


@dataclass(frozen=True)
class AgeCondition:
    """Holds for anything but folders whose time since the last change of content compares so."""

    comparison: str
    age_ns: int
    fits_directories: ClassVar[bool] = False

    def holds(self, mode: int, size: int, mtime_ns: int, now_ns: int, cache_tag: bool) -> bool:
        """Whether an entry with these facts fits."""
        return (
            bool(mode)
            and not stat.S_ISDIR(mode)
            and _COMPARISONS[self.comparison](now_ns - mtime_ns, self.age_ns)
        )


@dataclass(frozen=True)
class TypeCondition:
    """Holds for entries of these file formats (st_mode & S_IFMT)."""

    formats: frozenset[int]

    @property
    def fits_directories(self) -> bool:
        """Whether it can hold for a directory."""
        return stat.S_IFDIR in self.formats

    def holds(self, mode: int, size: int, mtime_ns: int, now_ns: int, cache_tag: bool) -> bool:
        """Whether an entry with these facts fits."""
        return stat.S_IFMT(mode) in self.formats


@dataclass(frozen=True)
class CacheFolderCondition:
    """Holds for folders that hold a valid CACHEDIR.TAG (https://bford.info/cachedir/)."""

    fits_directories: ClassVar[bool] = True

    def holds(self, mode: int, size: int, mtime_ns: int, now_ns: int, cache_tag: bool) -> bool:
        """Whether an entry with these facts fits."""
        return cache_tag and stat.S_ISDIR(mode)


Condition = SizeCondition | AgeCondition | TypeCondition | CacheFolderCondition


def split_conditions(line: bytes) -> tuple[tuple[Condition, ...], bytes]:
    """The conditions at the start of `line` (without its `!`), and the pattern after them; each may be empty.

    Raises:
        RuleError: it begins like a condition and is not one; the message is a clause that begins with "it".
    """
    if not _OPENING.match(line):
        return (), line
    inside, bracket, pattern = line[1:].partition(b"]")
    if not bracket:
        raise RuleError("it opens a condition that is never closed", hint="end the condition with ]")
    conditions = tuple(_condition(part.strip()) for part in inside.decode(errors="replace").split(","))
    pattern = pattern.lstrip(b" \t")
    if pattern.startswith(b"!"):
        raise RuleError("it has a ! after the condition", hint="write the ! first: ![size > 1GiB] *.iso")
    return conditions, pattern


def _condition(text: str) -> Condition:
    match = _ONE.fullmatch(text)
    if match is None:
        raise RuleError(
            f"it has the condition {text!r}, which is none",
            hint="write [size > 4GiB], [age > 90d], [type socket] or [cachedir], joined by commas",
        )
    measure, comparison, amount, _, kind, _ = match.groups()
    if kind is not None:
        if kind not in _FORMATS:
            raise RuleError(
                f"it names the file type {kind!r}, which is none", hint=f"the types are {', '.join(_FORMATS)}"
            )
        return TypeCondition(_FORMATS[kind])
    if measure is None:
        return CacheFolderCondition()
    try:
        if measure == "size":
            return SizeCondition(comparison, parse_size(amount))
        return AgeCondition(comparison, parse_duration(amount))
    except UsageError as error:
        raise RuleError(f"it has a condition in which {error.what}", hint=error.hint) from None
