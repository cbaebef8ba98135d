"""The programs that are compared, each with its defaults: how to make a repository, back up, restore."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from process import Command

_PASSPHRASE = "a passphrase of several words"


@dataclass(frozen=True)
class Contender:
    """A backup program. Its repository, caches and keys lie in one folder, its *home*.

    Words and environment may name {home}, {source}, {target} and {point}, the number of
    the backup in its repository, from 1.

    Attributes:
        name: as in the tables.
        about: what its defaults mean.
        executable: the program.
        tell_version: the words that make it tell its version.
        init: makes an encrypted repository in {home}/repository.
        backup: backs up {source} as restore point {point}.
        restore: restores the latest restore point, {point}, to the empty folder {target},
            without reading it again.
        verified: the same, and verifies what was written; empty where there is no such thing.
        in_target: whether `restore` writes to the working folder.
    """

    name: str
    about: str
    environment: Mapping[str, str]
    tell_version: tuple[str, ...]
    init: tuple[str, ...]
    backup: tuple[str, ...]
    restore: tuple[str, ...]
    verified: tuple[str, ...] = ()
    in_target: bool = False
    executable: Path = Path()

    def version(self) -> str:
        """As the program tells it: its name and a number."""
        done = subprocess.run(
            [str(self.executable), *self.tell_version], capture_output=True, text=True, check=True
        )
        return " ".join(done.stdout.split()[:2])

    def command(
        self,
        words: tuple[str, ...],
        home: Path,
        *,
        source: Path = Path(),
        target: Path = Path(),
        point: int = 1,
    ) -> Command:
        """The program with these words, their names replaced."""
        names = {"home": home, "source": source, "target": target, "point": point}
        return Command(
            [str(self.executable), *(word.format(**names) for word in words)],
            {key: value.format(**names) for key, value in self.environment.items()},
            target if self.in_target and words == self.restore else None,
        )


def repository(home: Path) -> Path:
    """Where the repository of any contender lies."""
    return home / "repository"


_BACKSTAY_RESTORE = ("repo", "restore", "{home}/repository", "latest", "--to", "{target}")

BACKSTAY = Contender(
    name="Backstay",
    about="`repo init`, `repo backup`, `repo restore latest --no-verify`",
    environment={
        "BACKSTAY_PASSPHRASE": _PASSPHRASE,
        "BACKSTAY_CACHE": "{home}/cache",
        "BACKSTAY_STATE": "{home}/state",
    },
    tell_version=("--version",),
    init=("repo", "init", "{home}/repository", "--recovery-sheet", "{home}/recovery.txt"),
    backup=("repo", "backup", "{home}/repository", "{source}"),
    restore=(*_BACKSTAY_RESTORE, "--no-verify"),
    verified=_BACKSTAY_RESTORE,
)

RESTIC = Contender(
    name="restic",
    about="`init`, `backup` (compression auto), `restore latest` (unverified)",
    environment={"RESTIC_PASSWORD": _PASSPHRASE, "RESTIC_CACHE_DIR": "{home}/cache"},
    tell_version=("version",),
    init=("-r", "{home}/repository", "init"),
    backup=("-r", "{home}/repository", "backup", "{source}"),
    restore=("-r", "{home}/repository", "restore", "latest", "--target", "{target}"),
)

BORG = Contender(
    name="borg",
    about="`init --encryption=repokey-blake2`, `create` (lz4), `extract`",
    environment={"BORG_PASSPHRASE": _PASSPHRASE, "BORG_BASE_DIR": "{home}/base"},
    tell_version=("--version",),
    init=("init", "--encryption=repokey-blake2", "{home}/repository"),
    backup=("create", "{home}/repository::point-{point}", "{source}"),
    restore=("extract", "{home}/repository::point-{point}"),
    in_target=True,
)


def find_backstay(wanted: Path | None) -> Contender:
    """The executable given, or that of the Python that runs this, or the one on PATH.

    Raises:
        SystemExit: there is none.
    """
    beside = Path(sys.executable).with_name("backstay")
    found = wanted or (beside if beside.exists() else _on_path("backstay"))
    if found is None or not found.exists():
        raise SystemExit("there is no executable `backstay`: run `make setup`, or give --backstay FILE")
    return _at(BACKSTAY, found)


def find_peers(folder: Path | None) -> tuple[list[Contender], list[str]]:
    """restic and borg, from `folder` or from PATH, and the names of those that are missing."""
    found: list[Contender] = []
    missing: list[str] = []
    for peer in (RESTIC, BORG):
        executable = folder / peer.name if folder is not None else _on_path(peer.name)
        if executable is not None and os.access(executable, os.X_OK):
            found.append(_at(peer, executable))
        else:
            missing.append(peer.name)
    return found, missing


def _at(contender: Contender, executable: Path) -> Contender:
    return replace(contender, executable=executable.absolute())


def _on_path(name: str) -> Path | None:
    found = shutil.which(name)
    return Path(found) if found else None
