"""The matcher of the scan and the verdict that is explained must be one."""

import stat

from hypothesis import given, settings
from hypothesis import strategies as st

from backstay.domain.content_rule import ContentRule
from backstay.domain.entry import FileStat
from backstay.domain.errors import RuleError

NOW = 1_800_000_000_000_000_000
DAY = 86_400_000_000_000

names = st.one_of(
    st.sampled_from([b"a", b"b", b"ab", b"a.o", b"b.a.o", b".o", b"o", b"a b", b"\xff", b"x" * 40]),
    st.binary(min_size=1, max_size=6).filter(
        lambda n: b"/" not in n and b"\0" not in n and n not in (b".", b"..")
    ),
)
segments = st.sampled_from(
    [
        b"a",
        b"b",
        b"ab",
        b"*",
        b"**",
        b"*.o",
        b"a*",
        b"*a*b*",
        b"?",
        b"[!a]",
        b"[^[:alpha:]]",
        b"*.a.o",
        b"\\a",
        b"a**",
    ]
)
conditions = st.sampled_from(
    [
        b"[size > 1KiB]",
        b"[size <= 0]",
        b"[age > 30d]",
        b"[age < 1d, size >= 2]",
        b"[type socket]",
        b"[type directory]",
        b"[type file]",
        b"[cachedir]",
    ]
)


@st.composite
def lines(draw: st.DrawFn) -> bytes:
    """A line with or without a condition."""
    condition = draw(st.one_of(st.just(b""), st.just(b""), conditions))
    pattern = b"/".join(draw(st.lists(segments, min_size=0 if condition else 1, max_size=4)))
    anchor = draw(st.sampled_from([b"", b"/"])) if pattern else b""
    unfit = (b"[size", b"[age", b"[type socket", b"[type file")
    end = draw(st.sampled_from([b"", b"/"])) if pattern and not condition.startswith(unfit) else b""
    return (
        draw(st.sampled_from([b"", b"", b"!"])) + condition + b" " * bool(condition) + anchor + pattern + end
    )


stats = st.builds(
    FileStat,
    name=st.just(b""),
    mode=st.sampled_from([stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK, stat.S_IFSOCK, stat.S_IFBLK]),
    size=st.sampled_from([0, 1, 2, 1024, 1025]),
    mtime_ns=st.sampled_from([NOW - 31 * DAY, NOW - 30 * DAY, NOW - DAY, NOW, NOW + DAY]),
    ctime_ns=st.just(0),
    inode=st.just(1),
    uid=st.just(0),
    gid=st.just(0),
    nlink=st.just(1),
)


@settings(max_examples=400, deadline=None)
@given(
    text=st.lists(lines(), max_size=8).map(b"\n".join),
    directory=st.lists(names, max_size=4).map(b"/".join),
    entries=st.lists(st.tuples(names, stats, st.booleans()), min_size=1, max_size=10),
)
def test_the_matcher_agrees_with_the_verdict(text: bytes, directory: bytes, entries: list) -> None:
    """What the scan leaves out is exactly what the verdict excludes, for every entry of every directory."""
    rule = ContentRule.parse(text, "x")
    matcher = rule.matcher_for(directory, NOW)
    for name, facts, tag in entries:
        is_directory = stat.S_ISDIR(facts.mode)
        path = directory + b"/" + name if directory else name
        verdict = rule.verdict(path, is_directory, facts, NOW, cache_tag=tag)
        left_out = matcher is not None and matcher.excludes(name, facts.mode, facts.size, facts.mtime_ns, tag)
        assert left_out is not verdict.included


@settings(max_examples=300)
@given(st.binary(max_size=60))
def test_any_bytes_are_understood_or_refused(text: bytes) -> None:
    """Parsing never fails with anything but a RuleError, and what it accepts can be asked."""
    try:
        rule = ContentRule.parse(text, "x")
    except RuleError as error:
        assert "x line " in error.what
        return
    rule.verdict(b"a/b", False, None, NOW)
    assert ContentRule.parse(b"\n".join(r.text for r in rule.rules), "y").fingerprint() == rule.fingerprint()


@given(st.lists(lines(), max_size=5), st.lists(lines(), max_size=5))
def test_joined_rules_equal_one_file(first: list[bytes], second: list[bytes]) -> None:
    """Adding two content rules gives the rule of both texts one after the other."""
    joined = ContentRule.parse(b"\n".join(first), "x") + ContentRule.parse(b"\n".join(second), "x")
    assert joined.fingerprint() == ContentRule.parse(b"\n".join(first + second), "x").fingerprint()
