"""Content rules are judged by git itself."""

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backstay.domain.content_rule import ContentRule
from backstay.domain.errors import RuleError

NAMES = [
    b"a",
    b"b",
    b"ab",
    b"abc",
    b"a.o",
    b"b.tar.o",
    b".o",
    b"[a]",
    b"a b",
    b"!a",
    b"#a",
    b"a\\b",
    b"-",
    b"\xe9",
]
PIECES = [
    *b"ab",
    b"*",
    b"?",
    b".o",
    b"**",
    b"[ab]",
    b"[!a]",
    b"[^b]",
    b"[a-c]",
    b"[]a]",
    b"[[:alpha:]]",
    b"[!]-]",
]
PIECES += [
    b"\\a",
    b"\\*",
    b"\\[",
    b"\\\\",
    b"c",
    b"[[:punct:]]",
    b"[\\]a-]",
    b"[a\\-c]",
    b"\\!",
    b"#",
    b" ",
    b"\xe9",
]
PIECES = [bytes((piece,)) if isinstance(piece, int) else piece for piece in PIECES]

components = st.one_of(
    st.sampled_from([b"*", b"**", b"a", b"b", b"ab", b"*.o", b"?", b"a*"]),
    st.lists(st.sampled_from(PIECES), min_size=1, max_size=4).map(b"".join),
)


@st.composite
def lines(draw: st.DrawFn) -> bytes:
    """A line of a .gitignore file."""
    body = b"/".join(draw(st.lists(components, min_size=1, max_size=4)))
    start = draw(st.sampled_from([b"", b"", b"/", b"!", b"!/"]))
    end = draw(st.sampled_from([b"", b"", b"/", b"  ", b"\\ ", b"/**"]))
    return start + body + end


paths = st.lists(
    st.tuples(st.lists(st.sampled_from(NAMES), min_size=1, max_size=4), st.booleans()),
    min_size=1,
    max_size=12,
)


def follows_the_manual(line: bytes) -> bool:
    """False for `a**` in a pattern with slashes.

    git compares the part before the first wildcard apart, and then takes stars at the start of what is left
    for a whole component, so that `a**/b` matches `ab`; its manual calls these stars regular ones.
    """
    body = line.removeprefix(b"!").removeprefix(b"/")
    literal = body[: min((body.find(c) for c in (b"*", b"?", b"[", b"\\") if c in body), default=len(body))]
    return not (body[len(literal) :].startswith(b"**") and literal and not literal.endswith(b"/"))


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty git repository."""
    where = tmp_path_factory.mktemp("git")
    git(where, "init", "-q")
    return where


def git(where: Path, *arguments: str, stdin: bytes = b"") -> bytes:
    """Runs git without the user's settings, and gives its standard output."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(where), "GIT_CONFIG_NOSYSTEM": "1"}
    done = subprocess.run(
        ["git", *arguments], cwd=where, input=stdin, env=environment, capture_output=True, check=False
    )
    assert done.returncode in (0, 1), done.stderr
    return done.stdout


def usable(line: bytes) -> bool:
    """Whether Backstay understands the line."""
    try:
        ContentRule.parse(line, "x")
    except RuleError:
        return False
    return True


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rule_lines=st.lists(lines().filter(follows_the_manual), min_size=1, max_size=6), tree=paths)
def test_git_ignores_the_same_paths(repository: Path, rule_lines: list[bytes], tree: list) -> None:
    """For every plain gitignore file, `explain` excludes exactly what `git check-ignore` reports.

    Lines that Backstay refuses stay in git's file: they must be lines that match nothing there.
    """
    text = b"\n".join(rule_lines) + b"\n"
    rule = ContentRule.parse(b"\n".join(line for line in rule_lines if usable(line)), "x")
    directories = {b"/".join(parts[:end]) for parts, _ in tree for end in range(1, len(parts))}
    directories |= {b"/".join(parts) for parts, is_directory in tree if is_directory}
    files = {b"/".join(parts) for parts, _ in tree} - directories

    work = repository / "work"
    subprocess.run(["rm", "-rf", str(work)], check=True)
    work.mkdir()
    for directory in sorted(directories):
        os.makedirs(os.fsencode(work) + b"/" + directory, exist_ok=True)
    for file in files:
        os.mknod(os.fsencode(work) + b"/" + file)
    (work / ".gitignore").write_bytes(text)

    everything = sorted(directories | files)
    shown = git(
        work, "check-ignore", "--no-index", "-z", "--stdin", stdin=b"".join(p + b"\0" for p in everything)
    )
    ignored = set(shown.split(b"\0")) - {b""}
    mine = {p for p in everything if not rule.explain(p, p in directories, None, 0)[-1][1].included}
    assert mine == ignored


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    patterns=st.lists(
        st.lists(st.sampled_from(PIECES), min_size=1, max_size=4).map(b"".join), min_size=60, max_size=60
    )
)
def test_git_matches_the_same_names(repository: Path, patterns: list[bytes]) -> None:
    """Wildcards, escapes and bracket expressions admit the same names as in git, one pattern a folder."""
    expected: set[bytes] = set()
    asked: list[bytes] = []
    for number, pattern in enumerate(patterns):
        folder = b"p%d" % number
        (repository / folder.decode()).mkdir(exist_ok=True)
        (repository / folder.decode() / ".gitignore").write_bytes(pattern)
        rule = ContentRule.parse(pattern, "x") if usable(pattern) else ContentRule()
        asked += [folder + b"/" + name for name in NAMES]
        expected |= {
            folder + b"/" + name for name in NAMES if not rule.verdict(name, False, None, 0).included
        }
    shown = git(repository, "check-ignore", "--no-index", "-z", "--stdin", stdin=b"\0".join(asked))
    assert set(shown.split(b"\0")) - {b""} == expected
