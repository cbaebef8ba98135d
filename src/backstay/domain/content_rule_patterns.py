"""gitignore patterns over bytes.

Follows gitignore(5) and the bracket expressions of git's wildmatch.c: `*` and `?` never match a slash,
`**` spans folders only where it stands alone between slashes, `?` and `[...]` match one byte. A pattern is
kept as its segments, so that it can be asked both "does it match this path?" and "what could it still
match among the children of this folder?". Both take time linear in the path, whatever the pattern.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from backstay.domain.errors import RuleError

_STAR = -1
_ANY_BYTE = -2
_Token = int | frozenset[int]

_ASCII_CLASSES: dict[bytes, frozenset[int]] = {
    b"alpha": frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"),
    b"digit": frozenset(b"0123456789"),
    b"lower": frozenset(b"abcdefghijklmnopqrstuvwxyz"),
    b"upper": frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ"),
    b"xdigit": frozenset(b"0123456789abcdefABCDEF"),
    b"blank": frozenset(b" \t"),
    b"space": frozenset(b" \t\n\r"),
    b"cntrl": frozenset(range(32)) | {127},
    b"graph": frozenset(range(33, 127)),
    b"print": frozenset(range(32, 127)),
    b"punct": frozenset(b"!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"),
}
_ASCII_CLASSES[b"alnum"] = _ASCII_CLASSES[b"alpha"] | _ASCII_CLASSES[b"digit"]


@dataclass(frozen=True)
class Segment:
    """What one path component must look like.

    Attributes:
        literal: the exact name, where there is no wildcard.
        suffix: ".ext" where the segment is "*.ext" and names a last extension only.
        source: a regular expression over bytes that matches the whole name, without anchors.
        matches_all: whether every name matches.
    """

    literal: bytes | None
    suffix: bytes | None
    source: bytes
    matches_all: bool
    _match: Callable[[bytes], object] = field(compare=False, repr=False)

    def matches(self, name: bytes) -> bool:
        """Whether the path component `name` fits."""
        if self.literal is not None:
            return name == self.literal
        return self.matches_all or self._match(name) is not None


@dataclass(frozen=True)
class PathPattern:
    """One parsed pattern, without its `!`.

    Attributes:
        segments: one for each path component; None stands for any number of components.
        directories_only: it was written with a trailing slash.
    """

    segments: tuple[Segment | None, ...]
    directories_only: bool = False

    @property
    def prefix(self) -> tuple[bytes, ...]:
        """The folder outside of which nothing can match, as literal components."""
        literals: list[bytes] = []
        for segment in self.segments[:-1]:
            if segment is None or segment.literal is None:
                break
            literals.append(segment.literal)
        return tuple(literals)

    @property
    def name_only(self) -> Segment | None:
        """The segment that alone decides, at any depth; None for a pattern that looks at folders too."""
        return self.segments[1] if len(self.segments) == 2 and self.segments[0] is None else None

    @property
    def last_segment(self) -> Segment:
        """What the last component of a matching path looks like."""
        segment = self.segments[-1]
        assert segment is not None, "parse_pattern ends no pattern in **"
        return segment

    def can_match_in(self, directory: Sequence[bytes]) -> bool:
        """Whether a child of `directory` (its components) matches as soon as its name fits `last_segment`."""
        positions = self._spread({0})
        for component in directory:
            positions = self._spread(self._step(positions, component))
            if not positions:
                return False
        return len(self.segments) - 1 in positions

    def matches(self, components: Sequence[bytes]) -> bool:
        """Whether the path of these components matches; whether it is a folder is the caller's to check."""
        return self.last_segment.matches(components[-1]) and self.can_match_in(components[:-1])

    def _step(self, positions: set[int], component: bytes) -> set[int]:
        after: set[int] = set()
        for position in positions:
            segment = self.segments[position]
            if segment is None:
                after.add(position)
            elif position + 1 < len(self.segments) and segment.matches(component):
                after.add(position + 1)
        return after

    def _spread(self, positions: set[int]) -> set[int]:
        """Adds the positions reachable by letting `**` stand for no component."""
        reached = set(positions)
        for position in positions:
            following = position
            while self.segments[following] is None:
                following += 1
                reached.add(following)
        return reached


def parse_pattern(text: bytes) -> PathPattern:
    """Understands one pattern: a line of a gitignore file without its `!`, comment and trailing blanks.

    Raises:
        RuleError: the pattern could never match anything; the message is a clause that begins with "it".
    """
    if b"\0" in text or b"\n" in text:
        raise RuleError("it holds a NUL byte or a line break", hint="no path can hold these")
    directories_only = text.endswith(b"/")
    body = text[:-1] if directories_only else text
    if not body:
        raise RuleError("it names nothing", hint="write * for everything, or /name for one entry of the root")
    if body == b"/":
        raise RuleError("it has an empty path component", hint="write single slashes")
    segments: list[Segment | None] = [] if b"/" in body else [None]
    for tokens, stars_only in _components(body.removeprefix(b"/")):
        segments.append(None if stars_only else _segment(tokens))
    if segments[-1] is None:
        segments.append(_segment([_STAR]))
    return PathPattern(tuple(_without_repeats(segments)), directories_only)


def _without_repeats(segments: list[Segment | None]) -> list[Segment | None]:
    return [s for i, s in enumerate(segments) if s is not None or i == 0 or segments[i - 1] is not None]


def _components(text: bytes) -> list[tuple[list[_Token], bool]]:
    """Tokens of each component, and whether it is `**` alone."""
    components: list[tuple[list[_Token], bool]] = []
    tokens: list[_Token] = []
    start = position = 0
    while position <= len(text):
        if position == len(text) or text[position] == 0x2F:
            stars = text[start:position]
            if tokens in ([], [0x2E], [0x2E, 0x2E]):
                wrong = (
                    f"it has the path component {stars.decode()!r}"
                    if tokens
                    else "it has an empty path component"
                )
                raise RuleError(wrong, hint="begin with / for the root, and write plain single slashes")
            components.append((tokens, len(stars) >= 2 and not stars.strip(b"*")))
            tokens = []
            position += 1
            start = position
            continue
        token, position = _token(text, position)
        if token == 0x2F:
            raise RuleError("it escapes a slash", hint="write the slash alone; no name can hold one")
        if token != _STAR or not tokens or tokens[-1] != _STAR:
            tokens.append(token)
    return components


def _token(text: bytes, position: int) -> tuple[_Token, int]:
    byte = text[position]
    match byte:
        case 0x2A:
            return _STAR, position + 1
        case 0x3F:
            return _ANY_BYTE, position + 1
        case 0x5B:
            return _bracket(text, position)
        case 0x5C:
            if position + 1 == len(text):
                raise RuleError("it ends in a lone backslash", hint="write \\\\ for a backslash")
            return text[position + 1], position + 2
    return byte, position + 1


def _bracket(text: bytes, opening: int) -> tuple[frozenset[int], int]:
    """The bytes that the bracket expression at `opening` admits, and the position after it."""
    position = opening + 1
    negated = text[position : position + 1] in (b"!", b"^")
    position += negated
    members: set[int] = set()
    first = position
    previous: int | None = None
    while position < len(text):
        byte = text[position]
        if byte == 0x5D and position > first:
            chosen = set(range(256)) - members if negated else members
            return frozenset(chosen - {0x2F}), position + 1
        closing = text.find(b"]", position + 2)
        if byte == 0x5C and position + 1 < len(text):
            previous = text[position + 1]
            members.add(previous)
            position += 2
        elif byte == 0x2D and previous is not None and text[position + 1 : position + 2] not in (b"", b"]"):
            position += 2 if text[position + 1] == 0x5C else 1
            if position >= len(text):
                break
            members.update(range(previous, text[position] + 1))
            previous = None
            position += 1
        elif (
            text[position : position + 2] == b"[:"
            and text[closing - 1 : closing] == b":"
            and closing > position + 2
        ):
            name = text[position + 2 : closing - 1]
            if name not in _ASCII_CLASSES:
                raise RuleError(
                    f"it names an unknown character class [:{name.decode(errors='replace')}:]",
                    hint="the classes are " + ", ".join(sorted(known.decode() for known in _ASCII_CLASSES)),
                )
            members |= _ASCII_CLASSES[name]
            previous = None
            position = closing + 1
        else:
            members.add(byte)
            previous = byte
            position += 1
    raise RuleError("it opens a [ that is never closed", hint="write \\[ for the character itself")


def _segment(tokens: list[_Token]) -> Segment:
    source = _expression(tokens)
    literal = bytes(t for t in tokens if isinstance(t, int)) if all(_is_byte(t) for t in tokens) else None
    ending = tokens[1:]
    suffix = None
    if (
        tokens[0] == _STAR
        and ending[:1] == [0x2E]
        and all(_is_byte(t) for t in ending)
        and 0x2E not in ending[1:]
    ):
        suffix = bytes(t for t in ending if isinstance(t, int))
    return Segment(literal, suffix, source, tokens == [_STAR], re.compile(source, re.DOTALL).fullmatch)


def _is_byte(token: _Token) -> bool:
    return isinstance(token, int) and token >= 0


def _expression(tokens: list[_Token]) -> bytes:
    """Never backtracks over stars: each run between two of them is taken where it first fits."""
    runs: list[list[bytes]] = [[]]
    for token in tokens:
        if token == _STAR:
            runs.append([])
        else:
            runs[-1].append(_one_byte(token))
    head, *rest = [b"".join(run) for run in runs]
    if not rest:
        return head
    *middle, tail = rest
    return head + b"".join(b"(?>.*?" + run + b")" for run in middle) + b".*" + tail


def _one_byte(token: _Token) -> bytes:
    if token == _ANY_BYTE:
        return b"."
    if isinstance(token, int):
        return re.escape(bytes((token,)))
    if not token:
        return b"(?!)"
    return b"[" + b"".join(b"\\x%02x" % byte for byte in sorted(token)) + b"]"
