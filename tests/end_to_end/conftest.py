"""The real executable, run as a process of its own, with a home of its own."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

EXECUTABLE = Path(sys.executable).parent / "backstay"
PASSPHRASE = "correct horse"


@dataclass
class Result:
    """How a process ended."""

    code: int
    out: str
    err: str

    @property
    def events(self):
        """What --json printed."""
        return [json.loads(line) for line in self.out.splitlines()]

    def event(self, name):
        """The only event of that name."""
        (found,) = [event for event in self.events if event["event"] == name]
        return found


class CommandLine:
    """Runs `backstay` in `folder`; every run must end without a traceback."""

    def __init__(self, folder):
        self.folder = folder
        self.environment = {
            "PATH": f"{EXECUTABLE.parent}:{os.environ['PATH']}",
            "HOME": str(folder),
            "BACKSTAY_STATE": str(folder / "state"),
            "BACKSTAY_CACHE": str(folder / "cache"),
            "BACKSTAY_PASSPHRASE": PASSPHRASE,
            "LANG": "C.UTF-8",
        }

    def __call__(self, *arguments, code=0, environment=None, prefix=()):
        """Run it to its end, which must be `code`."""
        result = subprocess.run(
            [*prefix, EXECUTABLE, *map(os.fsencode, map(str, arguments))],
            cwd=self.folder,
            env={**self.environment, **(environment or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=120,
            check=False,
        )
        found = Result(
            result.returncode,
            result.stdout.decode("utf-8", "surrogateescape"),
            result.stderr.decode("utf-8", "surrogateescape"),
        )
        assert "Traceback" not in found.out + found.err
        assert found.code == code, found
        return found

    def start(self, *arguments):
        """Start it, and go on; its output can be read line by line."""
        return subprocess.Popen(
            [EXECUTABLE, *map(str, arguments)],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


@pytest.fixture
def cli(tmp_path):
    """The command line in an empty folder."""
    return CommandLine(tmp_path)


@pytest.fixture
def repository(cli):
    """A repository `repo`, beside a folder `docs` with three files."""
    cli("repo", "init", "repo")
    docs = cli.folder / "docs"
    (docs / "sub").mkdir(parents=True)
    (docs / "a.txt").write_text("a")
    (docs / "sub" / "b.txt").write_text("b" * 1000)
    (docs / "sub" / "c.bin").write_bytes(os.urandom(300_000))
    return cli.folder / "repo"
