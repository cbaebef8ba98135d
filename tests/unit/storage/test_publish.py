from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from backstay.storage.publish import link, publish, rename_locked, rename_noreplace

METHODS = {
    "any": publish,
    "link": lambda aside, final, lock: link(aside, final),
    "renameat2": lambda aside, final, lock: rename_noreplace(aside, final),
    "flock": rename_locked,
}


@pytest.fixture(params=METHODS)
def method(request, tmp_path):
    """Every way to publish, where this platform and filesystem have it."""
    if request.param == "renameat2":
        (tmp_path / "probe").touch()
        try:
            rename_noreplace(tmp_path / "probe", tmp_path / "probed")
        except OSError as error:
            pytest.skip(f"renameat2: {error}")
        (tmp_path / "probed").unlink()
    return METHODS[request.param]


def test_publishes(method, tmp_path):
    """The bytes appear under the final name."""
    (tmp_path / "aside").write_bytes(b"new")
    method(tmp_path / "aside", tmp_path / "final", tmp_path / "lock")
    assert (tmp_path / "final").read_bytes() == b"new"


@pytest.mark.parametrize("kind", ["file", "folder", "broken link"])
def test_never_replaces(method, tmp_path, kind):
    """Whatever has the name keeps it."""
    final = tmp_path / "final"
    if kind == "file":
        final.write_bytes(b"old")
    elif kind == "folder":
        final.mkdir()
    else:
        final.symlink_to("nowhere")
    before = final.lstat()
    (tmp_path / "aside").write_bytes(b"new")
    with pytest.raises(FileExistsError):
        method(tmp_path / "aside", final, tmp_path / "lock")
    assert final.lstat() == before
    assert (tmp_path / "aside").read_bytes() == b"new"


def test_missing_folder(method, tmp_path):
    """A folder that is not there is told as such, so that it can be made."""
    (tmp_path / "aside").write_bytes(b"new")
    with pytest.raises(FileNotFoundError):
        method(tmp_path / "aside", tmp_path / "folder" / "final", tmp_path / "lock")


def test_one_winner(method, tmp_path):
    """Of eight threads at a time exactly one gives its file the name, ten times over."""

    def attempt(aside: Path, final: Path) -> bool:
        try:
            method(aside, final, tmp_path / "lock")
        except FileExistsError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        for turn in range(10):
            named = [tmp_path / f"aside-{turn}-{n}" for n in range(8)]
            for path in named:
                path.write_text(path.name)
            final = tmp_path / f"final-{turn}"
            won = list(pool.map(attempt, named, [final] * 8))
            assert won.count(True) == 1
            assert final.read_text() == named[won.index(True)].name
