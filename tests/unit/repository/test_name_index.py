"""Files of names: every pattern finds what a plain look at each name finds."""

from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backstay.domain.entry import Entry, Totals
from backstay.domain.errors import DamagedObject
from backstay.repository.manifest import Manifest, RestorePoint
from backstay.repository.name_index import NameHit, NameIndex, NamePattern, write_name_index
from backstay.repository.tree import encode_entries

_names = st.lists(
    st.one_of(
        st.text("abAB.é[*1", min_size=1, max_size=6).map(str.encode), st.binary(min_size=1, max_size=4)
    ),
    max_size=12,
    unique=True,
).map(lambda names: sorted(name for name in names if b"/" not in name and b"\0" not in name))


def _point(names: list[bytes]) -> tuple[RestorePoint, dict[bytes, bytes]]:
    """A restore point with these files right below its root."""
    allowed = [name for name in names if name not in {b".", b".."}]
    page = encode_entries(
        [Entry(name, 0o100644, 0, 0, len(name), 7, 7, 1, 1, inline=name) for name in allowed]
    )
    root = bytes(32)
    manifest = Manifest(
        1, bytes(16), "fs", "set", 1, b"", bytes(16), 0, "full", root, b"", Totals(), 0, 0, 0, 0, ""
    )
    return RestorePoint(root, manifest), {root: page}


def _found(path: Path, pattern: str, first: int = 0) -> Iterator[NameHit]:
    with NameIndex(path) as index:
        yield from [hit for hit in index.find(NamePattern(pattern), first) if isinstance(hit, NameHit)]


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(names=_names, pattern=st.text("abAB.é[]*?1", min_size=1, max_size=4))
def test_a_search_finds_what_a_plain_look_finds(tmp_path: Path, names: list[bytes], pattern: str) -> None:
    """Parts of names and shell patterns, in any case; also of names that are no text; with their figures."""
    point, pages = _point(names)
    write_name_index(tmp_path / "index", point, None, pages.__getitem__)
    wanted = pattern.casefold()
    expected = []
    for name in names:
        text = name.decode("utf-8", "surrogateescape").casefold()
        fits = fnmatchcase(text, wanted) if any(sign in wanted for sign in "*?[") else wanted in text
        if fits and name not in {b".", b".."}:
            expected.append((b"/" + name, len(name), 7, False))
    found = list(_found(tmp_path / "index", pattern))
    assert [(hit.path, hit.size, hit.mtime_ns, hit.is_folder) for hit in found] == expected
    if found:
        assert list(_found(tmp_path / "index", pattern, found[0].row + 1)) == found[1:]


def test_a_long_look_says_how_far_it_is(tmp_path: Path) -> None:
    """While nothing fits the row that comes next is told, so that a later look goes on there."""
    names = [f"a{number:04}".encode() for number in range(2500)]
    point, pages = _point(names)
    write_name_index(tmp_path / "index", point, None, pages.__getitem__)
    with NameIndex(tmp_path / "index") as index:
        assert list(index.find(NamePattern("a*b"))) == [1000, 2000]


@pytest.mark.parametrize("cut", [0, 5, 40, -1])
def test_a_file_that_is_cut_short_is_told(tmp_path: Path, cut: int) -> None:
    """A cache that a full disk cut short is damaged, never half searched."""
    point, pages = _point([b"a", b"b"])
    path = tmp_path / "index"
    write_name_index(path, point, None, pages.__getitem__)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(DamagedObject):
        NameIndex(path)
