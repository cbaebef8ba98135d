"""The demo: the commands that a user would type, run one after the other on a real tree."""

import json
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from backstay.cli.demo_changes import change_some_files
from backstay.cli.text import counted, seconds, shown, size
from backstay.cli.tree_record import Look, differences, record_tree
from backstay.domain.errors import BackstayError, UsageError

_MARK = ".backstay-demo"
_SET = "protected"
_BACKSTAY = [sys.executable, "-m", "backstay.cli"]
_START_SECONDS = 60.0
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
        self._environment = {**os.environ, "BACKSTAY_CONFIG": str(folder / "config")}
        self._told: list[str] = []

    def run(self) -> None:
        """All of it. Raises BackstayError where anything is not as it should be."""
        self._copy_source()
        before = record_tree(self.copy)
        same_as_source = not _rsync_differences(self.source, self.copy)
        self._write_environment()
        self._title("Start a server and this machine's agent, and protect the copy")
        with self._running() as (server, ready):
            self._log_in(ready)
            self._title("First backup: everything is read")
            full = self._backstay("backup", _SET, "--follow")
            self._title("Change some files, and back up again: only what changed is read")
            print(f"  {change_some_files(self.copy)}")
            after = record_tree(self.copy)
            incremental = self._backstay("backup", _SET, "--follow")
            points = self._points()
            self._tell_backup("first backup", points[0], full)
            self._tell_backup("incremental", points[1], incremental)
            self._title("Restore both points, and compare")
            self._restore(points[0], "restored-first", before, self.source if same_as_source else None)
            self._restore(points[1], "restored-second", after, self.copy)
            self._title("Look for damage, reading everything that is stored")
            self._backstay("repositories", "verify", "default", "--follow")
            self._finish(ready)
            if sys.stdout.isatty():
                _wait_for_interrupt(server)

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

    @contextmanager
    def _running(self) -> Iterator[tuple["subprocess.Popen[str]", dict[str, Any]]]:
        """The server and the agent, and what `backstay up` says when it is ready."""
        words = ["up", "--folder", str(self.folder / "home"), "--protect", str(self.copy)]
        print(f"  $ backstay {shlex.join(self._relative(word) for word in words)}", flush=True)
        log = self.folder / "backstay.log"
        with log.open("wb") as errors:
            server = subprocess.Popen(
                [*_BACKSTAY, *words, "--json"],
                env=self._environment,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                start_new_session=True,
            )
        try:
            assert server.stdout is not None
            line = server.stdout.readline()
            if not line:
                raise _Failed("`backstay up` ended before it was ready", hint=f"{log} says why")
            ready = json.loads(line)
            if ready["event"] == "error":
                raise _Failed(ready["what"], hint=ready["hint"])
            print(f"  the server is at {ready['url']}, the agent is {ready['file_server']}")
            yield server, ready
        finally:
            server.terminate()
            server.wait()

    def _log_in(self, ready: dict[str, Any]) -> None:
        """As `backstay login` would, once the server answers."""
        password = self.folder / "password"
        password.write_text(f"{ready['password']}\n")
        password.chmod(0o600)
        words = ["login", ready["url"], "--name", "admin", "--password-file", str(password)]
        ends = time.monotonic() + _START_SECONDS
        while True:
            done = subprocess.run(
                [*_BACKSTAY, *words], env=self._environment, capture_output=True, text=True, check=False
            )
            if done.returncode == 0:
                print(f"  $ backstay {shlex.join(self._relative(word) for word in words)}", flush=True)
                break
            if time.monotonic() > ends:
                raise _Failed("the server does not answer", hint=done.stderr.strip())
            time.sleep(0.2)
        while not self._asked("file-servers", "list")[0]["connected"]:
            if time.monotonic() > ends:
                raise _Failed("the agent does not come up", hint=f"see {self.folder / 'backstay.log'}")
            time.sleep(0.2)

    def _backstay(self, *arguments: str | Path) -> float:
        """Run `backstay …` with its output on the screen, and return its seconds as a whole process."""
        words = [*map(str, arguments)]
        print(f"  $ backstay {shlex.join(self._relative(word) for word in words)}", flush=True)
        started = time.monotonic()
        code = subprocess.run([*_BACKSTAY, *words], env=self._environment, check=False).returncode
        if code != 0:
            raise _Failed(f"`backstay {words[0]}` ended with {code}", hint="its message is above")
        return time.monotonic() - started

    def _asked(self, *words: str) -> list[dict[str, Any]]:
        """What a command prints with --json, line by line."""
        command = [*_BACKSTAY, *words, "--json"]
        listed = subprocess.run(command, env=self._environment, check=True, capture_output=True)
        return [json.loads(line) for line in listed.stdout.splitlines()]

    def _points(self) -> list[dict[str, Any]]:
        points = [one for one in self._asked("restore-points", "list") if "id" in one]
        return sorted(points, key=lambda point: int(point["sequence"]))

    def _tell_backup(self, name: str, point: dict[str, Any], took: float) -> None:
        read, stored = point["read_bytes"], point["stored_bytes"]
        self._told.append(
            f"{name:<15}  {seconds(int(took * 1e9)):>8}   {counted(point['files'], 'file')}, "
            f"{size(point['bytes'])}: {size(read)} read, {size(stored)} stored"
        )

    def _restore(
        self, point: dict[str, Any], name: str, expected: dict[bytes, Look], original: Path | None
    ) -> None:
        target = self.folder / name
        took = self._backstay(
            *("restore", point["id"][:10], str(self.copy), "--to", target, "--strip", "--follow")
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
        rate = size(point["bytes"] / took)
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
        lines = [f"export BACKSTAY_CONFIG={shlex.quote(self._environment['BACKSTAY_CONFIG'])}"]
        lines.append(f"export PATH={shlex.quote(sysconfig.get_path('scripts'))}:$PATH")
        (self.folder / "environment").write_text("\n".join(lines) + "\n")

    def _finish(self, ready: dict[str, Any]) -> None:
        environment = shlex.quote("./" + self._relative(str(self.folder / "environment")))
        home = shlex.quote(self._relative(str(self.folder / "home")))
        self._title("Done: all of it is encrypted, and both points are restored exactly")
        for line in self._told:
            print(f"  {line}")
        print("\nTry next:")
        if sys.stdout.isatty():
            print(f"  open {ready['url']} and sign in as admin with the password {ready['password']}")
            print(f"  in another terminal: . {environment}")
        else:
            for command in (f". {environment}", f"backstay up --folder {home}"):
                print(f"  {command}")
        for command in (
            "backstay sets list",
            "backstay backup protected --follow",
            "backstay jobs list",
            "backstay restore-points list",
        ):
            print(f"  {command}")


def _wait_for_interrupt(server: "subprocess.Popen[str]") -> None:
    print("\nIt stays up until Ctrl-C.", flush=True)
    with suppress(KeyboardInterrupt):
        server.wait()


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
