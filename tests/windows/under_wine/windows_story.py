"""A Windows file server's story by the command line: repository, backups, restores."""

import contextlib
import io
import re
import shutil
import time
from pathlib import Path

import pytest

from backstay.cli.main import main


class Story:
    """A folder with a repository, and the command line."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.repository = str(folder / "repository")

    def run(self, *words: str, code: int = 0) -> str:
        """Run `backstay`, and return what it said."""
        said = io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            got = main(list(words))
        assert got == code, said.getvalue()
        return said.getvalue()

    def backup(self, *words: str, code: int = 0) -> str:
        """Back up the source."""
        return self.run("repo", "backup", self.repository, str(self.folder / "source"), *words, code=code)

    def restored(self, name: str, *words: str) -> Path:
        """Restore the latest point, and return where the source is then."""
        target = self.folder / name
        self.run("repo", "restore", self.repository, "latest", "--to", str(target), *words)
        source = self.folder / "source"
        return target / "C" / source.relative_to(source.anchor)


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    """A repository, and a tree that has been backed up into it once."""
    folder = tmp_path_factory.mktemp("story")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BACKSTAY_PASSPHRASE", "correct horse battery staple")
        patch.setenv("BACKSTAY_STATE", str(folder / "state"))
        patch.setenv("BACKSTAY_CACHE", str(folder / "cache"))
        source = folder / "source"
        (source / "sub" / "Größe").mkdir(parents=True)
        (source / "empty").mkdir()
        for number in range(60):
            (source / "sub" / f"file {number}.txt").write_bytes(b"%d\r\n" % number * number * 40)
        (source / "sub" / "Größe" / "ünïcode ☂ 𝄞.txt").write_bytes(b"name")
        (source / "large.bin").write_bytes(bytes(range(256)) * 12_000)
        with (source / "holes.img").open("wb") as file:
            file.truncate(8 << 20)
            file.seek(5 << 20)
            file.write(b"in the middle")
        (source / "twice").hardlink_to(source / "sub" / "file 7.txt")
        story = Story(folder)
        story.run("repo", "init", story.repository, "--recovery-sheet", str(folder / "sheet.txt"))
        # Younger files are read again by the next backup: their times may not tell of a change.
        time.sleep(2.1)
        story.backup()
        yield story


def files_of(top: Path) -> dict[str, bytes]:
    """Every file below, with its content."""
    return {
        str(path.relative_to(top)): path.read_bytes() for path in sorted(top.rglob("*")) if path.is_file()
    }


def test_restores_what_was_backed_up(story: Story) -> None:
    """Every file comes back with its content, time and links; the restore is verified."""
    there = story.restored("out")
    source = story.folder / "source"
    assert files_of(there) == files_of(source)
    assert sorted(p.name for p in there.iterdir()) == sorted(p.name for p in source.iterdir())
    for name in ("large.bin", "sub/file 7.txt", "sub"):
        assert (there / name).stat().st_mtime_ns == (source / name).stat().st_mtime_ns
    assert (there / "twice").samefile(there / "sub" / "file 7.txt")


def test_reads_only_what_changed(story: Story) -> None:
    """A second backup reads nothing, a third the one file that changed."""
    assert "read 0 B" in story.backup()
    (story.folder / "source" / "sub" / "file 3.txt").write_bytes(b"changed")
    assert "to read 1 file, 7 B" in story.backup()


def test_restores_over_what_exists(story: Story) -> None:
    """Files in use and read-only ones are replaced, others stay."""
    there = story.restored("over")
    victim = there / "sub" / "file 5.txt"
    victim.write_bytes(b"spoiled")
    victim.chmod(0o444)
    (there / "more.txt").write_bytes(b"mine")
    story.restored("over", "--existing", "overwrite")
    assert victim.read_bytes() == (story.folder / "source" / "sub" / "file 5.txt").read_bytes()
    assert (there / "more.txt").read_bytes() == b"mine"


def test_verifies(story: Story) -> None:
    """Everything that was stored can be read."""
    story.run("repo", "verify", story.repository, "--data")


def test_prunes(story: Story) -> None:
    """Pruning works beside index runs that are mapped into memory."""
    story.run("repo", "prune", story.repository, "--keep-yearly", "1")
    assert len(story.run("repo", "points", story.repository).splitlines()) <= 3


def test_lists_and_names_by_windows_paths(story: Story) -> None:
    """A path of Windows finds its place in the restore point."""
    said = story.run("repo", "files", story.repository, "latest", str(story.folder / "source" / "sub"))
    assert "file 3.txt" in said


def test_a_lost_state_costs_nothing_but_time(story: Story) -> None:
    """Without its scan state a backup reads again and stores nothing twice."""
    shutil.rmtree(story.folder / "state")
    said = story.backup()
    # Only the page of the drive, which has a folder less now, is a new one.
    assert re.search(r"read 11\.\d MiB, stored \d{3} B", said), said
