"""Looking into restore points: paths, folders, searches, versions, differences, content."""

import os
import random

import pytest

from backstay.domain.entry import Entry
from backstay.domain.errors import RepositoryError, UsageError
from backstay.repository.browse import Browser
from backstay.repository.compare import Change, compare_points
from backstay.repository.content import FileContent, file_bytes


@pytest.fixture
def history(bench):
    """Three points of a tree that changes between them."""
    source = bench.source
    (source / "docs").mkdir()
    (source / "docs" / "Report.TXT").write_bytes(b"first" * 200)
    (source / "docs" / "same").write_bytes(b"same" * 200)
    (source / "gone").mkdir()
    (source / "gone" / "file").write_bytes(b"gone" * 200)
    (source / "turns").write_bytes(b"file")
    (source / "mode").write_bytes(b"mode" * 200)
    (source / "quiet").mkdir()
    (source / "quiet" / "file").write_bytes(b"q")
    points = [bench.backup()]
    (source / "docs" / "Report.TXT").write_bytes(b"second" * 200)
    (source / "gone" / "file").unlink()
    (source / "gone").rmdir()
    (source / "turns").unlink()
    (source / "turns").mkdir()
    (source / "turns" / "inside").write_bytes(b"i")
    (source / "mode").chmod(0o600)
    points.append(bench.backup())
    points.append(bench.backup())
    return bench, Browser(bench.repository), points


def at(bench, *names: str) -> bytes:
    """The path of something in the source."""
    return os.fsencode(bench.source.joinpath(*names))


def test_paths(history):
    """A path leads to its entry, `/` to the root, and a wrong one to nothing."""
    bench, browser, (first, second, _) = history
    found = browser.find_path(first, at(bench, "docs", "same"))
    assert found is not None
    assert (found.name, found.size) == (b"same", 800)
    assert browser.find_path(second, at(bench, "gone", "file")) is None
    assert browser.find_path(first, at(bench, "docs", "same", "below")) is None
    root = browser.require(first, b"/")
    assert root.is_directory
    assert [entry.name for entry in browser.list_folder(root)] == [os.fsencode(bench.source.parts[1])]
    with pytest.raises(UsageError, match="nowhere"):
        browser.require(first, b"/nowhere")


def test_walk(history):
    """A walk gives every entry below a path once, folders before what is in them."""
    bench, browser, (first, _, _) = history
    found = [entry.path for entry in browser.walk(first, os.fsencode(bench.source))]
    names = [
        "docs",
        "docs/Report.TXT",
        "docs/same",
        "gone",
        "gone/file",
        "mode",
        "quiet",
        "quiet/file",
        "turns",
    ]
    assert found == [at(bench), *(at(bench, name) for name in names)]


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("report", ["docs/Report.TXT"]),
        ("*.txt", ["docs/Report.TXT"]),
        ("f?le", ["gone/file", "quiet/file"]),
        ("*/docs/s*", ["docs/same"]),
        ("nothing", []),
    ],
)
def test_find(history, pattern, names):
    """A search fits parts of names, or shell patterns for names and paths, in upper or lower case."""
    bench, browser, (first, _, _) = history
    found = [hit.path for hit in browser.find([first], pattern, at(bench))]
    assert found == [at(bench, name) for name in names]


def test_versions(history):
    """Each version is listed once, with all the points that hold it."""
    bench, browser, (first, second, third) = history
    report = browser.versions([first, second, third], at(bench, "docs", "Report.TXT"))
    assert [version.points for version in report] == [[first], [second, third]]
    assert [version.entry.size for version in report] == [1000, 1200]
    assert len(browser.versions([first, second, third], at(bench, "docs", "same"))) == 1
    assert browser.versions([first, second, third], at(bench, "never")) == []


def test_differences(history):
    """Everything added, removed, changed or touched is listed; the rest is not."""
    bench, browser, (first, second, third) = history
    found = {
        (difference.change, difference.path) for difference in compare_points(first, second, browser.read)
    }
    assert found == {
        (Change.CHANGED, at(bench, "docs", "Report.TXT")),
        (Change.REMOVED, at(bench, "gone")),
        (Change.REMOVED, at(bench, "gone", "file")),
        (Change.REMOVED, at(bench, "turns")),
        (Change.ADDED, at(bench, "turns")),
        (Change.ADDED, at(bench, "turns", "inside")),
        (Change.METADATA, at(bench, "mode")),
    }
    assert list(compare_points(second, third, browser.read)) == []


def test_differences_of_a_huge_folder_open_few_pages(bench):
    """In a folder of many pages only those that differ are read."""
    for number in range(6000):
        (bench.source / f"file {number:05d}").write_bytes(b"")
    first = bench.backup()
    (bench.source / "file 03000").write_bytes(b"changed")
    (bench.source / "file 03000x").write_bytes(b"added")
    second = bench.backup()
    reads = 0
    browser = Browser(bench.repository)

    def counted(blob_id: bytes) -> bytes:
        nonlocal reads
        reads += 1
        return browser.read(blob_id)

    found = [(each.change, each.path) for each in compare_points(first, second, counted)]
    assert found == [(Change.CHANGED, at(bench, "file 03000")), (Change.ADDED, at(bench, "file 03000x"))]
    pages = 2 * (len(bench.source.parts) - 1)
    assert reads <= pages * 3 + 12


def test_content_anywhere(bench):
    """Reads at any place give what the file holds there: holes, pieces, ends."""
    noise = random.Random(5)
    data = bytearray(noise.randbytes(12_000_000))
    with (bench.source / "sparse").open("wb") as file:
        file.write(data[:5_000_000])
        file.truncate(12_000_000)
        file.seek(9_000_000)
        file.write(data[9_000_000:])
    data[5_000_000:9_000_000] = bytes(4_000_000)
    (bench.source / "tiny").write_bytes(b"0123456789")
    point = bench.backup()
    browser = Browser(bench.repository)
    entry = browser.require(point, at(bench, "sparse"))
    content = browser.open_content(entry)
    for _ in range(60):
        offset, length = noise.randrange(12_100_000), noise.randrange(3_000_000)
        assert content.read(offset, length) == data[offset : offset + length]
    read = browser.read
    assert b"".join(file_bytes(entry, read)) == data
    tiny = browser.open_content(browser.require(point, at(bench, "tiny")))
    assert (tiny.size, tiny.read(3, 4), tiny.read(8, 10), tiny.read(10, 1)) == (10, b"3456", b"89", b"")


def test_content_that_is_not_there(bench):
    """A folder, or a file that could not be read when it was backed up, has none, and that is said."""
    entry = Entry(b"f", 0o100644, 0, 0, 5, 0, 0, 1, 1)
    read = Browser(bench.repository).read
    with pytest.raises(RepositoryError, match="could not be read"):
        FileContent(entry, read)
    with pytest.raises(RepositoryError, match="not a regular file"):
        list(file_bytes(entry._replace(mode=0o040755), read))
