"""The content rule, prepared for the scan: one cheap question for each directory entry."""

import re
import stat
from collections.abc import Callable, Sequence
from typing import NamedTuple

from backstay.domain.content_rule_conditions import Condition
from backstay.domain.content_rule_patterns import PathPattern, Segment

_MATCHERS_KEPT = 4096


class Line(NamedTuple):
    """What matching needs to know of one line of a content rule."""

    excludes: bool
    pattern: PathPattern
    conditions: tuple[Condition, ...]


class _Candidate(NamedTuple):
    """A line as it applies to the children of one directory."""

    excludes: bool
    segment: Segment
    directories_only: bool
    conditions: tuple[Condition, ...]


class DirectoryMatcher:
    """Answers for the entries of one directory (and of all to which the same lines apply).

    An entry is first looked up by name, by extension and in one joined regular expression; only where one of
    these could exclude it are the lines asked in order.
    """

    __slots__ = (
        "_candidates",
        "_conditional",
        "_expression",
        "_names",
        "_now_ns",
        "_suffixes",
        "_unconditional",
    )

    def __init__(self, candidates: Sequence[_Candidate], now_ns: int) -> None:
        self._candidates = tuple(reversed(candidates))
        self._now_ns = now_ns
        self._names: set[bytes] = set()
        self._suffixes: set[bytes] = set()
        self._conditional: tuple[tuple[Condition, ...], ...] = ()
        self._unconditional = False
        sources: list[bytes] = []
        for candidate in candidates:
            if not candidate.excludes:
                continue
            segment = candidate.segment
            if segment.matches_all and candidate.conditions:
                self._conditional += (candidate.conditions,)
            elif segment.matches_all:
                self._unconditional = True
            elif segment.literal is not None:
                self._names.add(segment.literal)
            elif segment.suffix is not None:
                self._suffixes.add(segment.suffix)
            else:
                sources.append(segment.source)
        self._expression: Callable[[bytes], object] | None = (
            re.compile(b"|".join(sources), re.DOTALL).fullmatch if sources else None
        )

    def excludes(self, name: bytes, mode: int, size: int, mtime_ns: int, cache_tag: bool = False) -> bool:
        """Whether the entry `name` is left out, with all below it where it is a directory.

        Args:
            name: the last path component.
            mode: st_mode.
            size: st_size, bytes.
            mtime_ns: st_mtime in nanoseconds since the epoch.
            cache_tag: it is a directory that holds a valid CACHEDIR.TAG.
        """
        expression = self._expression
        if (
            name in self._names
            or name[name.rfind(b".") :] in self._suffixes
            or (expression is not None and expression(name) is not None)
            or self._unconditional
            or (self._conditional and self._some_condition_holds(mode, size, mtime_ns, cache_tag))
        ):
            return self._decide(name, mode, size, mtime_ns, cache_tag)
        return False

    def _some_condition_holds(self, mode: int, size: int, mtime_ns: int, cache_tag: bool) -> bool:
        now_ns = self._now_ns
        for conditions in self._conditional:
            for condition in conditions:
                if not condition.holds(mode, size, mtime_ns, now_ns, cache_tag):
                    break
            else:
                return True
        return False

    def _decide(self, name: bytes, mode: int, size: int, mtime_ns: int, cache_tag: bool) -> bool:
        for excludes, segment, directories_only, conditions in self._candidates:
            if (
                segment.matches(name)
                and (not directories_only or stat.S_ISDIR(mode))
                and all(c.holds(mode, size, mtime_ns, self._now_ns, cache_tag) for c in conditions)
            ):
                return excludes
        return False


class TreeMatcher:
    """Finds the matcher of each directory, and shares it among directories to which the same lines apply."""

    def __init__(self, lines: Sequence[Line], now_ns: int) -> None:
        self._lines = lines
        self._now_ns = now_ns
        self._everywhere = frozenset(i for i, line in enumerate(lines) if line.pattern.name_only is not None)
        # Of a line whose folders have no wildcard the prefix is the only folder in which it matches.
        self._in_folder: dict[bytes, list[int]] = {}
        self._by_prefix: dict[bytes, list[int]] = {}
        for i, line in enumerate(lines):
            if i not in self._everywhere:
                prefix = line.pattern.prefix
                is_whole = len(prefix) == len(line.pattern.segments) - 1
                by_folder = self._in_folder if is_whole else self._by_prefix
                by_folder.setdefault(b"/".join(prefix), []).append(i)
        self._matchers: dict[frozenset[int], DirectoryMatcher | None] = {}
        self._usual = self._matcher(self._everywhere)

    def matcher_for(self, directory: bytes) -> DirectoryMatcher | None:
        """The matcher for the children of `directory`; None where nothing can be left out among them."""
        here = self._in_folder.get(directory, ())
        if not self._by_prefix:
            return self._matcher(self._everywhere.union(here)) if here else self._usual
        applicable: list[int] = list(self._by_prefix.get(b"", ()))
        if directory:
            end = directory.find(b"/")
            while end >= 0:
                applicable += self._by_prefix.get(directory[:end], ())
                end = directory.find(b"/", end + 1)
            applicable += self._by_prefix.get(directory, ())
        if not applicable and not here:
            return self._usual
        components = directory.split(b"/") if directory else []
        matching = [i for i in applicable if self._lines[i].pattern.can_match_in(components)]
        matching += here
        return self._matcher(self._everywhere.union(matching)) if matching else self._usual

    def _matcher(self, indices: frozenset[int]) -> DirectoryMatcher | None:
        if indices in self._matchers:
            return self._matchers[indices]
        chosen = [self._lines[i] for i in sorted(indices)]
        matcher = None
        if any(line.excludes for line in chosen):
            matcher = DirectoryMatcher([_candidate(line) for line in chosen], self._now_ns)
        if len(self._matchers) >= _MATCHERS_KEPT:
            self._matchers.clear()
        self._matchers[indices] = matcher
        return matcher


def _candidate(line: Line) -> _Candidate:
    return _Candidate(
        line.excludes, line.pattern.last_segment, line.pattern.directories_only, line.conditions
    )
