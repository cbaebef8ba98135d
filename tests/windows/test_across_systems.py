"""A restore point made on one system is restored on the other, and what stays behind is said before."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from backstay.testing.wine import Wine

pytestmark = pytest.mark.timeout(900)

_PROGRAM = "import sys; from backstay.cli.main import main; sys.exit(main(sys.argv[1:]))"
_PASSPHRASE = {"BACKSTAY_PASSPHRASE": "correct horse battery staple"}


class Both:
    """The command line on both systems, with a folder that both reach."""

    def __init__(self, wine: Wine, folder: Path) -> None:
        self._wine = wine
        self.folder = folder

    def on_linux(self, *words: str) -> list[dict[str, object]]:
        """Run `backstay` here; the events that it printed."""
        done = subprocess.run(
            [sys.executable, "-c", _PROGRAM, *words, "--json"],
            env={**os.environ, **_PASSPHRASE, **self._places("linux", str)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    def on_windows(self, *words: str | Path) -> str:
        """Run `backstay` under wine; what it printed."""
        translated = [self._wine.path(word) if isinstance(word, Path) else word for word in words]
        places = self._places("windows", lambda text: self._wine.path(Path(text)))
        done = self._wine.python(["-c", _PROGRAM, *translated], environment={**_PASSPHRASE, **places})
        assert done.returncode == 0, done.stdout
        return done.stdout

    def _places(self, system: str, shown: "type[str] | object") -> dict[str, str]:
        assert callable(shown)
        return {
            f"BACKSTAY_{name.upper()}": shown(str(self.folder / f"{name}-{system}"))
            for name in ("state", "cache")
        }


def _notes(events: Sequence[dict[str, object]]) -> list[str]:
    return [str(event["note"]) for event in events if event["event"] == "note"]


@pytest.fixture
def both(wine: Wine, tmp_path: Path) -> Both:
    """Both systems."""
    return Both(wine, tmp_path)


def test_from_windows_to_linux(both: Both) -> None:
    """Files come back with content and times below the drive's folder; what stays behind is told."""
    source, repository = both.folder / "source", both.folder / "repository"
    (source / "Größe").mkdir(parents=True)
    (source / "Größe" / "file.txt").write_bytes(b"content\r\n")
    (source / "large.bin").write_bytes(bytes(range(256)) * 8000)
    both.on_windows("repo", "init", repository, "--recovery-sheet", both.folder / "sheet.txt")
    both.on_windows("repo", "backup", repository, source)
    out = both.folder / "out"
    events = both.on_linux("repo", "restore", str(repository), "latest", "--to", str(out))
    there = out / "Z:" / source.relative_to("/")
    assert (there / "Größe" / "file.txt").read_bytes() == b"content\r\n"
    assert (there / "large.bin").read_bytes() == (source / "large.bin").read_bytes()
    assert abs((there / "large.bin").stat().st_mtime_ns - (source / "large.bin").stat().st_mtime_ns) < 100
    notes = _notes(events)
    assert any(note.startswith("Windows security descriptors of") for note in notes)
    assert any(note.startswith("Windows attributes, creation time") for note in notes)


def test_from_linux_to_windows(both: Both) -> None:
    """Names that Windows cannot have get others by the rule; both of a pair come back."""
    source, repository = both.folder / "source", both.folder / "repository"
    source.mkdir()
    for name in ("plain", "a:b?", "dot.", "nul", "Readme", "README"):
        (source / name).write_bytes(name.encode())
    (source / "script.sh").write_bytes(b"#!/bin/sh\n")
    (source / "script.sh").chmod(0o750)
    os.mkfifo(source / "pipe")
    init = ("repo", "init", str(repository), "--recovery-sheet", str(both.folder / "sheet.txt"))
    both.on_linux(*init)
    both.on_linux("repo", "backup", str(repository), str(source))
    out = both.folder / "out"
    said = both.on_windows("repo", "restore", repository, "latest", "--to", out, "--dry-run", str(source))
    for words in (
        "owner, group and mode of",
        "1 file cannot be made on Windows: pipes",
        "4 files cannot have the name",
    ):
        assert words in said, said
    os.unlink(source / "pipe")
    both.on_linux("repo", "backup", str(repository), str(source))
    both.on_windows("repo", "restore", repository, "latest", "--to", out, str(source))
    there = out / source.relative_to("/")
    found = {path.name: path.read_bytes() for path in there.iterdir()}
    assert found.pop("script.sh") == b"#!/bin/sh\n"
    assert found.pop("plain") == b"plain"
    assert found.pop("a\uf03ab\uf03f") == b"a:b?"
    assert found.pop("dot\uf02e") == b"dot."
    assert found.pop("nu\uf06c") == b"nul"
    assert sorted(found.values()) == [b"README", b"Readme"]
    assert {name.lower()[:6] for name in found} == {"readme"}
    assert len({name.lower() for name in found}) == 2
