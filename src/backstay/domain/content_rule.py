"""The content rule of a backup set: what is left out, and the reason for every path.

Lines are read as in a .gitignore file at the root of the file system, with two additions: conditions in
brackets before the pattern (content_rule_conditions), and the comment right above a line is shown as its
reason. The last line that matches an entry decides. A folder that is left out is never entered, so that no
`!` line can bring back what is below it. See docs/decisions/0002-content-rules.md.

Paths are bytes relative to the root, without a leading slash: b"srv/data/a.txt"; the root itself is b"".
"""

import hashlib
import re
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from backstay.domain.content_rule_conditions import (
    AgeCondition,
    CacheFolderCondition,
    Condition,
    split_conditions,
)
from backstay.domain.content_rule_matcher import DirectoryMatcher, Line, TreeMatcher
from backstay.domain.content_rule_patterns import PathPattern, parse_pattern
from backstay.domain.entry import FileStat
from backstay.domain.errors import RuleError

_ESCAPED_OR_OTHER = re.compile(rb"(?:\\.|[^\\ ]| +(?=[^ ]))*\\?", re.DOTALL)
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Rule:
    """One line of a content rule.

    Attributes:
        text: the line as it was written.
        origin: who set it: "default rules", "FILE line 3", "--exclude".
        excludes: False for a `!` line, which includes again.
        comment: the comment above it, or empty.
    """

    text: bytes
    origin: str
    excludes: bool
    pattern: PathPattern
    conditions: tuple[Condition, ...] = ()
    comment: str = ""

    def __str__(self) -> str:
        return f"`{self.text.decode(errors='backslashreplace')}` ({self.origin})"


@dataclass(frozen=True)
class Verdict:
    """Whether an entry is backed up, the rule that decided (None: none matches), and the reason in words."""

    included: bool
    rule: Rule | None
    reason: str


class ContentRule:
    """An ordered list of rules; immutable. Later rules win over earlier ones.

    Attributes:
        rules: the rules in order.
    """

    def __init__(self, rules: Sequence[Rule] = ()) -> None:
        self.rules = tuple(rules)
        self._prepared: tuple[int, TreeMatcher] | None = None

    @classmethod
    def parse(cls, text: str | bytes, origin: str, *, numbered: bool = True) -> "ContentRule":
        """Reads a rule file.

        Args:
            text: the content of the file.
            origin: what to call it in reasons and errors, for example its path.
            numbered: whether a rule's origin also names its line.

        Raises:
            RuleError: one or more lines cannot be understood; the message names all of them.
        """
        raw = _as_bytes(text).removeprefix(_BYTE_ORDER_MARK)
        rules: list[Rule] = []
        errors: list[tuple[str, RuleError]] = []
        comment: list[str] = []
        in_comment = False
        for number, full_line in enumerate(raw.split(b"\n"), start=1):
            line = full_line.removesuffix(b"\r")
            if line.startswith(b"#"):
                comment = comment if in_comment else []
                comment.append(line[1:].strip().decode(errors="replace"))
                in_comment = True
                continue
            in_comment = False
            line = _without_trailing_spaces(line)
            if not line:
                comment = []
                continue
            where = f"{origin} line {number}"
            try:
                rules.append(_parse_line(line, where if numbered else origin, " ".join(comment).strip()))
            except RuleError as error:
                errors.append((f"{where}: {_shown(line)} cannot be understood: {error.what}", error))
        _raise_all(errors)
        return cls(rules)

    @classmethod
    def from_patterns(cls, excludes: Sequence[str | bytes], origin: str = "--exclude") -> "ContentRule":
        """Rules given one by one, as on the command line; each is one line.

        Raises:
            RuleError: one or more cannot be understood, or are a comment or empty; the message names all.
        """
        rules: list[Rule] = []
        errors: list[tuple[str, RuleError]] = []
        for pattern in excludes:
            line = _as_bytes(pattern)
            try:
                if line.startswith(b"#"):
                    raise RuleError("it is a comment", hint="write \\# for a name that begins with #")
                rules.append(_parse_line(_without_trailing_spaces(line), origin, ""))
            except RuleError as error:
                errors.append((f"{origin} {_shown(line)} cannot be understood: {error.what}", error))
        _raise_all(errors)
        return cls(rules)

    def __add__(self, later: "ContentRule") -> "ContentRule":
        """Both, in order: where both decide, `later` wins."""
        return ContentRule(self.rules + later.rules)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ContentRule) and self.rules == other.rules

    def __hash__(self) -> int:
        return hash(self.rules)

    def __bool__(self) -> bool:
        return bool(self.rules)

    @property
    def depends_on_time(self) -> bool:
        """Whether an entry that did not change may be judged otherwise later on (age conditions)."""
        return any(isinstance(c, AgeCondition) for rule in self.rules for c in rule.conditions)

    @property
    def asks_for_cache_tags(self) -> bool:
        """Whether the scan has to look for CACHEDIR.TAG in directories."""
        return any(isinstance(c, CacheFolderCondition) for rule in self.rules for c in rule.conditions)

    def fingerprint(self) -> bytes:
        """16 bytes that are equal exactly where all lines are equal and in the same order."""
        digest = hashlib.blake2b(digest_size=16)
        for rule in self.rules:
            digest.update(rule.text + b"\n")
        return digest.digest()

    def verdict(
        self,
        path: bytes,
        is_directory: bool,
        stat_of_path: FileStat | None,
        now_ns: int,
        *,
        cache_tag: bool = False,
    ) -> Verdict:
        """Judges one entry, its ancestors being included (`explain` judges these too).

        Args:
            path: relative to the root.
            is_directory: whether it is a directory (a symbolic link to one is not).
            stat_of_path: None where it is not known: no condition on size, age or type of file then holds.
            now_ns: the time of the scan, nanoseconds since the epoch.
            cache_tag: it is a directory that holds a valid CACHEDIR.TAG.
        """
        unknown = stat.S_IFDIR if is_directory else 0
        mode, size, mtime_ns = stat_of_path[1:4] if stat_of_path else (unknown, -1, now_ns)
        components = path.split(b"/") if path else []
        for rule in reversed(self.rules):
            if (
                components
                and rule.pattern.matches(components)
                and (is_directory or not rule.pattern.directories_only)
                and all(c.holds(mode, size, mtime_ns, now_ns, cache_tag) for c in rule.conditions)
            ):
                because = f": {rule.comment}" if rule.comment else ""
                verb = "excluded" if rule.excludes else "included again"
                return Verdict(not rule.excludes, rule, f"{verb} by {rule}{because}")
        return Verdict(True, None, "included: no rule matches it")

    def explain(
        self,
        path: bytes,
        is_directory: bool,
        stat_of_path: FileStat | None,
        now_ns: int,
        has_cache_tag: Callable[[bytes], bool] = lambda directory: False,
    ) -> list[tuple[bytes, Verdict]]:
        """The verdict for each ancestor of `path` and for itself, from the root down.

        Ends at the first that is excluded: nothing below it is looked at, and so it decides. The last verdict
        of the list is therefore the verdict for `path`.

        Args:
            path, is_directory, stat_of_path, now_ns: as for `verdict`.
            has_cache_tag: tells of a directory (relative to the root) whether it holds a valid CACHEDIR.TAG.
        """
        explained: list[tuple[bytes, Verdict]] = []
        components = path.split(b"/")
        for depth in range(1, len(components) + 1):
            ancestor = b"/".join(components[:depth])
            last = depth == len(components)
            directory = is_directory or not last
            verdict = self.verdict(
                ancestor,
                directory,
                stat_of_path if last else None,
                now_ns,
                cache_tag=directory and has_cache_tag(ancestor),
            )
            explained.append((ancestor, verdict))
            if not verdict.included:
                break
        return explained

    def matcher_for(self, directory: bytes, now_ns: int) -> DirectoryMatcher | None:
        """What to ask of each entry of `directory`; None where nothing can be left out among its children.

        Agrees with `verdict`. None says nothing of directories further down: ask again for each.

        Args:
            directory: relative to the root.
            now_ns: the time of the scan, nanoseconds since the epoch; pass the same for a whole scan.
        """
        if not self.rules:
            return None
        prepared = self._prepared
        if prepared is None or prepared[0] != now_ns:
            lines = [Line(rule.excludes, rule.pattern, rule.conditions) for rule in self.rules]
            self._prepared = prepared = (now_ns, TreeMatcher(lines, now_ns))
        return prepared[1].matcher_for(directory)


def _parse_line(line: bytes, origin: str, comment: str) -> Rule:
    body = line.removeprefix(b"!")
    conditions, pattern_text = split_conditions(body)
    pattern = parse_pattern(pattern_text or b"*" if conditions else pattern_text)
    if pattern.directories_only and any(not c.fits_directories for c in conditions):
        raise RuleError(
            "it has a condition that holds for no folder, and a / at the end that means folders only",
            hint="write /** at the end for the files below a folder",
        )
    return Rule(line, origin, not line.startswith(b"!"), pattern, conditions, comment)


def _without_trailing_spaces(line: bytes) -> bytes:
    match = _ESCAPED_OR_OTHER.match(line)
    return match[0] if match else line


def _as_bytes(text: str | bytes) -> bytes:
    if isinstance(text, bytes):
        return text
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise RuleError(f"a content rule holds text that is not Unicode ({error.reason})") from None


def _shown(line: bytes) -> str:
    return f"`{line.decode(errors='backslashreplace')}`"


def _raise_all(errors: Sequence[tuple[str, RuleError]]) -> None:
    if errors:
        hints = dict.fromkeys(error.hint for _, error in errors if error.hint)
        raise RuleError("; ".join(message for message, _ in errors), hint="; ".join(hints))
