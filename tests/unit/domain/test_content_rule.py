"""Content rules: lines, conditions, origins and reasons."""

import stat

import pytest

from backstay.domain.content_rule import ContentRule
from backstay.domain.entry import FileStat
from backstay.domain.errors import RuleError

NOW = 1_800_000_000_000_000_000
DAY = 86_400_000_000_000


def facts(mode: int = stat.S_IFREG, size: int = 0, age_ns: int = 0) -> FileStat:
    """A file as the scan sees it."""
    return FileStat(b"", mode, size, NOW - age_ns, 0, 1, 0, 0, 1)


def included(text: str, path: bytes, of: FileStat | None = None, *, tag: bool = False) -> bool:
    """The verdict of a rule file for one entry."""
    is_directory = of is not None and stat.S_ISDIR(of.mode)
    return ContentRule.parse(text, "x").verdict(path, is_directory, of, NOW, cache_tag=tag).included


def test_the_last_line_that_matches_decides() -> None:
    """A later `!` line includes again what an earlier line excludes, and the other way round."""
    assert included("*.log\n!keep.log", b"a/keep.log")
    assert not included("!keep.log\n*.log", b"a/keep.log")


def test_no_rules_cost_nothing_and_exclude_nothing() -> None:
    """An empty content rule gives no matcher at all."""
    rule = ContentRule()
    assert rule.matcher_for(b"srv", NOW) is None
    assert rule.verdict(b"srv/a", False, None, NOW).included
    assert not rule


def test_an_anchored_line_costs_nothing_elsewhere() -> None:
    """Directories in which no line can match have no matcher; those in which one can have one."""
    rule = ContentRule.parse("/srv/scratch/*.tmp\n/proc/*", "x")
    assert rule.matcher_for(b"home/user", NOW) is None
    assert rule.matcher_for(b"srv", NOW) is None
    matcher = rule.matcher_for(b"srv/scratch", NOW)
    assert matcher is not None
    assert matcher.excludes(b"a.tmp", stat.S_IFREG, 0, NOW)


@pytest.mark.parametrize(
    ("condition", "of", "holds"),
    [
        ("[size > 4GiB]", facts(size=4 * 2**30 + 1), True),
        ("[size > 4GiB]", facts(size=4 * 2**30), False),
        ("[size >= 4GiB]", facts(size=4 * 2**30), True),
        ("[size < 1]", facts(size=0), True),
        ("[size < 1]", facts(stat.S_IFDIR), False),
        ("[size < 1]", facts(stat.S_IFLNK), False),
        ("[age > 30d]", facts(age_ns=30 * DAY + 1), True),
        ("[age > 30d]", facts(age_ns=30 * DAY), False),
        ("[age > 30d]", facts(stat.S_IFDIR, age_ns=99 * DAY), False),
        ("[age > 30d]", facts(stat.S_IFLNK, age_ns=99 * DAY), True),
        ("[type socket]", facts(stat.S_IFSOCK), True),
        ("[type device]", facts(stat.S_IFBLK), True),
        ("[type device]", facts(stat.S_IFCHR), True),
        ("[type socket]", facts(), False),
        ("[size > 10, age > 1d]", facts(size=11, age_ns=2 * DAY), True),
        ("[size > 10, age > 1d]", facts(size=11), False),
        ("[type socket]", None, False),
        ("[age > 1d]", None, False),
    ],
)
def test_conditions_hold_for_what_they_name(condition: str, of: FileStat | None, holds: bool) -> None:
    """Size judges regular files, age everything but folders, type the format; unknown facts never fit."""
    assert included(condition, b"srv/a", of) is not holds
    assert included(f"{condition} *.iso", b"srv/a", of)
    assert included(f"{condition} /srv/**", b"srv/a", of) is not holds


def test_cache_folders_are_left_out_only_where_the_tag_is() -> None:
    """`[cachedir]` excludes a folder with a valid tag, and `!` can bring one back."""
    folder = facts(stat.S_IFDIR)
    rule = ContentRule.parse("[cachedir]\n!/srv/cache/", "x")
    assert rule.asks_for_cache_tags
    assert not rule.verdict(b"home/cache", True, folder, NOW, cache_tag=True).included
    assert rule.verdict(b"home/cache", True, folder, NOW).included
    assert rule.verdict(b"srv/cache", True, folder, NOW, cache_tag=True).included
    assert not ContentRule.parse("[type directory] cache", "x").asks_for_cache_tags


def test_a_class_that_looks_like_no_condition_stays_a_class() -> None:
    """Brackets that do not begin with a condition's word mean what they mean in git."""
    assert not included("[ab]x", b"ax")
    assert not included("[sizes]x", b"zx")


def test_every_bad_line_is_named_at_once() -> None:
    """The error names each malformed line with its number, what is wrong with it, and a hint."""
    with pytest.raises(RuleError) as caught:
        ContentRule.parse("*.o\na//b\n[abc\n\nfine\n[size > many] x", "rules.txt")
    message = caught.value.what
    assert "rules.txt line 2: `a//b`" in message
    assert "rules.txt line 3: `[abc`" in message
    assert "rules.txt line 6" in message
    assert "'many' is not a size" in message
    assert "line 1" not in message
    assert "line 5" not in message
    assert "\\[" in caught.value.hint
    assert caught.value.exit_code == 2


PATTERNS_WITHOUT_MEANING = ["/", "!", "a//b", "./a", "a/../b", "a\\", "[a", "a[[:no:]]", "a\\/b", "a\0"]
CONDITIONS_WITHOUT_MEANING = ["[size 4G]", "[type pdf]", "[size > 4G", "[size > 1G] a/", "[size > 1G] !a"]
CONDITIONS_WITHOUT_MEANING += ["[age > 2 fortnights]", "[cachedir, ]", "[type socket] a/"]


@pytest.mark.parametrize("line", [*PATTERNS_WITHOUT_MEANING, *CONDITIONS_WITHOUT_MEANING])
def test_a_line_that_can_match_nothing_is_refused(line: str) -> None:
    """A line that would silently do nothing is an error with a hint, in a file and on the command line."""
    for attempt in (lambda: ContentRule.parse(line, "x"), lambda: ContentRule.from_patterns([line])):
        with pytest.raises(RuleError) as caught:
            attempt()
        assert caught.value.hint


@pytest.mark.parametrize("pattern", ["", "#a", "  "])
def test_the_command_line_refuses_what_a_file_may_skip(pattern: str) -> None:
    """A pattern given by hand that is empty or a comment is a mistake."""
    with pytest.raises(RuleError, match="--exclude"):
        ContentRule.from_patterns([pattern])


def test_the_reason_names_rule_origin_and_comment() -> None:
    """A verdict says in words which rule decided, where it comes from, and what was written above it."""
    rule = ContentRule.parse("# nobody\n# needs these\n*.tmp\n\n*.bak", "rules.txt")
    rule += ContentRule.from_patterns(["*.iso"])
    reasons = [rule.verdict(path, False, None, NOW).reason for path in (b"a.tmp", b"a.bak", b"a.iso", b"a")]
    assert reasons == [
        "excluded by `*.tmp` (rules.txt line 3): nobody needs these",
        "excluded by `*.bak` (rules.txt line 5)",
        "excluded by `*.iso` (--exclude)",
        "included: no rule matches it",
    ]


def test_nothing_below_an_excluded_folder_comes_back() -> None:
    """As in git, a `!` line cannot include what is below a folder that is left out; explain ends there."""
    rule = ContentRule.parse("/srv/cache/\n!/srv/cache/keep", "x")
    explained = rule.explain(b"srv/cache/keep", False, None, NOW)
    assert [path for path, _ in explained] == [b"srv", b"srv/cache"]
    assert [verdict.included for _, verdict in explained] == [True, False]
    rule = ContentRule.parse("/srv/cache/*\n!/srv/cache/keep", "x")
    assert rule.explain(b"srv/cache/keep", False, None, NOW)[-1][1].included


def test_carriage_returns_and_a_byte_order_mark_do_no_harm() -> None:
    """A file written on Windows means the same."""
    windows = ContentRule.parse(b"\xef\xbb\xbf*.o\r\n\r\n# x\r\n*.p\r\n", "x")
    assert windows.fingerprint() == ContentRule.parse("*.o\n*.p", "x").fingerprint()


def test_the_fingerprint_tells_order_and_text_apart() -> None:
    """Rules that may judge otherwise have other fingerprints."""
    prints = {
        ContentRule.parse(text, "x").fingerprint() for text in ("", "a", "b", "a\nb", "b\na", "!a", "a/")
    }
    assert len(prints) == 7


def test_only_age_depends_on_time() -> None:
    """A rule says whether an unchanged entry may be judged otherwise later."""
    assert ContentRule.parse("[age > 2y] *.iso", "x").depends_on_time
    assert not ContentRule.parse("[size > 2G] *.iso", "x").depends_on_time


def test_a_pattern_with_many_stars_takes_no_time() -> None:
    """Matching stays linear: a pattern made to explode in a backtracking matcher ends at once."""
    pattern = "*a" * 30 + "b"
    assert included(pattern, b"/".join([b"a" * 255] * 15))
    assert included("**/a/" * 30 + "b", b"/".join([b"a"] * 2000))
