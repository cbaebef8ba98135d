"""The demo: the commands that a user would type, run one after the other on a real tree."""

import json
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import time
from pathlib import Path
from typing import Any

from backstay.cli.demo_changes import change_some_files
from backstay.cli.text import counted, seconds, shown, size
from backstay.cli.tree_record import Look, differences, record_tree
from backstay.domain.errors import BackstayError, UsageError

_MARK = ".backstay-demo"
_ROOM_FACTOR = 4
"""A copy, a repository and two restored trees."""


class _Failed(BackstayError):
    """A step of the demo did not do what it should."""


class Demo:
    """One run.

    Args:
        source: the tree to protect; only read.
        folder: an empty folder for everything that is made.
    """

    def __init__(self, source: Path, folder: Path) -> None:
        self.source = source
        self.folder = folder
        self.copy = folder / "source"
        self.repository = folder / "repository"
        self._environment = {
            **os.environ,
            "BACKSTAY_PASSPHRASE": "only a demo",
            "BACKSTAY_STATE": str(folder / "state"),
            "BACKSTAY_CACHE": str(folder / "cache"),
        }
        self._told: list[str] = []

    def run(self) -> None:
        """All of it. Raises BackstayError where anything is not as it should be."""
        self._copy_source()
        before = record_tree(self.copy)
        same_as_source = not _rsync_differences(self.source, self.copy)
        self._write_environment()
        self._title("Make a repository")
        self._backstay("init", self.repository, "--recovery-sheet", self.folder / "recovery-sheet.txt")
        self._title("First backup: everything is read")
        full = self._backstay("backup", self.repository, self.copy)
        self._title("Change some files, and back up again: only what changed is read")
        print(f"  {change_some_files(self.copy)}")
        after = record_tree(self.copy)
        incremental = self._backstay("backup", self.repository, self.copy)
        points = self._points()
        self._tell_backup("first backup", points[0], full)
        self._tell_backup("incremental", points[1], incremental)
        self._title("Restore both points, and compare")
        self._restore(points[0], "restored-first", before, self.source if same_as_source else None)
        self._restore(points[1], "restored-second", after, self.copy)
        self._title("Look for damage, reading everything that is stored")
        self._backstay("verify", self.repository, "--data")
        self._finish()

    def _copy_source(self) -> None:
        self._title(f"Copy {shown(self.source)}, so that the demo can change files")
        entries, total = _measure(self.source)
        room = shutil.disk_usage(self.folder).free
        if total * _ROOM_FACTOR > room:
            raise UsageError(
                f"{self.source} has {size(total)}, and the demo needs {_ROOM_FACTOR} times that; "
                f"{size(room)} are free",
                hint="choose a smaller tree with SRC=/path",
            )
        print(f"  {counted(entries, 'entry', 'entries')}, {size(total)}", flush=True)
        command = ["cp", "-a", "--reflink=auto", "--", f"{self.source}/.", str(self.copy)]
        copied = subprocess.run(
            command, capture_output=True, text=True, errors="backslashreplace", check=False
        )
        if copied.returncode:
            left_out = counted(len(copied.stderr.splitlines()), "entry was", "entries were")
            print(f"  {left_out} left out, for this user may not read them")

    def _backstay(self, *arguments: str | Path) -> float:
        """Run `backstay repo …` with its output on the screen, and return its seconds as a whole process."""
        words = ["repo", *map(str, arguments)]
        print(f"  $ backstay {shlex.join(self._relative(word) for word in words)}", flush=True)
        started = time.monotonic()
        code = subprocess.run(
            [sys.executable, "-m", "backstay.cli", *words], env=self._environment, check=False
        ).returncode
        if code != 0:
            raise _Failed(f"`backstay repo {words[1]}` ended with {code}", hint="its message is above")
        return time.monotonic() - started

    def _points(self) -> list[dict[str, Any]]:
        listed = subprocess.run(
            [sys.executable, "-m", "backstay.cli", "repo", "points", str(self.repository), "--json"],
            env=self._environment,
            check=True,
            capture_output=True,
        )
        return [json.loads(line) for line in listed.stdout.splitlines()]

    def _tell_backup(self, name: str, point: dict[str, Any], took: float) -> None:
        read, stored, totals = point["read_bytes"], point["stored_bytes"], point["totals"]
        rate = f", {size(read / took)}/s" if read > 10 << 20 else ""
        holds = f"{totals['files']:,} files, {size(totals['bytes'])}"
        done = f"read {size(read)}{rate}, stored {size(stored)}"
        self._told.append(f"{name:<15}  {seconds(int(took * 1e9)):>8}   {holds}; {done}")

    def _restore(
        self, point: dict[str, Any], name: str, expected: dict[bytes, Look], original: Path | None
    ) -> None:
        target = self.folder / name
        took = self._backstay(
            *("restore", self.repository, point["id"][:10], "--to", target, "--strip", str(self.copy))
        )
        restored = target / self.copy.name
        found = differences(expected, record_tree(restored))
        judges = [f"{counted(len(expected), 'entry', 'entries')} compared one by one"]
        if original is not None and (by_rsync := _rsync_differences(original, restored)) is not None:
            found += by_rsync
            judges.append("rsync -aHAX finds no difference")
        if found:
            raise _Failed(
                f"{restored} is not what was backed up: {'; '.join(found[:5])}", hint="please report this"
            )
        rate = size(point["totals"]["bytes"] / took)
        print(f"  the same: {', '.join(judges)}")
        self._told.append(
            f"{name.replace('-', ' '):<15}  {seconds(int(took * 1e9)):>8}   {rate}/s; {judges[-1]}"
        )

    def _title(self, text: str) -> None:
        print(f"\n== {text}", flush=True)

    def _relative(self, word: str) -> str:
        path = Path(word)
        return os.path.relpath(path) if path.is_absolute() and path.is_relative_to(Path.cwd()) else word

    def _write_environment(self) -> None:
        names = ("BACKSTAY_PASSPHRASE", "BACKSTAY_STATE", "BACKSTAY_CACHE")
        lines = [f"export {name}={shlex.quote(self._environment[name])}" for name in names]
        lines.append(f"export PATH={shlex.quote(sysconfig.get_path('scripts'))}:$PATH")
        (self.folder / "environment").write_text("\n".join(lines) + "\n")

    def _finish(self) -> None:
        repository = shlex.quote(self._relative(str(self.repository)))
        environment = shlex.quote("./" + self._relative(str(self.folder / "environment")))
        self._title("Done: all of it is encrypted, and both points are restored exactly")
        for line in self._told:
            print(f"  {line}")
        print("\nTry next:")
        for command in (
            f". {environment}",
            f"backstay repo points {repository}",
            f"backstay repo backup {repository} ~/Documents --set mine",
            f"backstay repo prune {repository} --keep-days 30 --dry-run",
            "backstay bench",
        ):
            print(f"  {command}")


def run_demo(source: Path | None, folder: Path) -> int:
    """Run the demo, and return the exit code."""
    chosen = (source or default_source()).absolute()
    if not chosen.is_dir():
        raise UsageError(f"{chosen} is not a folder", hint="name one with SRC=/path or --source")
    folder = folder.absolute()
    if folder.resolve().is_relative_to(chosen.resolve()):
        raise UsageError(f"the demo's folder lies in {chosen}", hint="choose another with --folder")
    _make_anew(folder)
    Demo(chosen, folder).run()
    return 0


def default_source() -> Path:
    """The library of the Python that runs this: thousands of real files on every machine."""
    return Path(
        sysconfig.get_path("stdlib", vars={"installed_base": sys.base_prefix, "base": sys.base_prefix})
    )


def _make_anew(folder: Path) -> None:
    """Raises UsageError where the folder holds anything but an earlier demo."""
    if folder.exists() and any(folder.iterdir()):
        if not (folder / _MARK).exists():
            raise UsageError(
                f"{folder} is not empty, and no earlier demo", hint="choose another place with --folder"
            )
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    (folder / _MARK).touch()


def _measure(top: Path) -> tuple[int, int]:
    entries = total = 0
    for folder, _, names in os.walk(top):
        entries += 1 + len(names)
        for name in names:
            try:
                total += os.lstat(os.path.join(folder, name)).st_size
            except OSError:
                continue
    return entries, total


def _rsync_differences(one: Path, other: Path) -> list[str] | None:
    """What rsync would change in `other` to make it `one`; None where there is no rsync."""
    rsync = shutil.which("rsync")
    if rsync is None:
        return None
    command = [rsync, "-aHAXn", "--delete", "--itemize-changes", f"{one}/", f"{other}/"]
    found = subprocess.run(command, capture_output=True, text=True, errors="backslashreplace", check=False)
    return found.stdout.splitlines() + found.stderr.splitlines()
