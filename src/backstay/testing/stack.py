"""A server and agents as processes of their own, on this machine: what an administrator would start."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

EXECUTABLE = Path(sys.executable).parent / "backstay"
_PATIENCE = 60.0


class Stack:
    """One server in `folder`, plain HTTP on the loopback address, and any number of agents.

    Attributes:
        url: the server's address, once it is started.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = ""
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def start_server(self) -> str:
        """Start the server, and wait until it answers; returns its address."""
        log = self.folder / "server.log"
        log.unlink(missing_ok=True)
        command = ["server", "--folder", str(self.folder / "server"), "--host", "127.0.0.1", "--port", "0"]
        self._start("server", [*command, "--tls", "off", "--json"], log)
        ends = time.monotonic() + _PATIENCE
        while not (found := re.search(r'"url": ?"([^"]+)"', log.read_text())):
            self._require("server", log, ends)
        self.url = found.group(1)
        while not self._answers():
            self._require("server", log, ends)
        return self.url

    @property
    def setup_code(self) -> str:
        """What the server's log shows for the first set-up."""
        found = re.search(r"set_up_code\W+((?:\w{5}-){3}\w{5})", self.log_of("server"))
        assert found is not None, self.log_of("server")
        return found.group(1)

    def enrol_and_run(self, command: str, name: str) -> None:
        """Do on a file server what the console says: paste the command, then run the agent.

        Args:
            command: as the console shows it.
            name: of the file server, for several on one machine.
        """
        words = command.partition("&&")[0].split()
        assert words[0] == "backstay", command
        done = subprocess.run(
            [EXECUTABLE, *words[1:], "--name", name],
            env=self._environment(name),
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        self.run_agent(name)

    def run_agent(self, name: str) -> None:
        """Start the agent of an enrolled file server."""
        self._start(name, ["agent", "run"], self.folder / f"{name}.log")

    def stop(self, name: str, with_signal: signal.Signals = signal.SIGTERM) -> None:
        """End a process that was started here."""
        process = self._processes.pop(name)
        process.send_signal(with_signal)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(20)

    def close(self) -> None:
        """End all of them."""
        for name in list(self._processes):
            self.stop(name, signal.SIGKILL)

    def log_of(self, name: str) -> str:
        """What a process has printed."""
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def _start(self, name: str, arguments: list[str], log: Path) -> None:
        with log.open("ab") as output:
            self._processes[name] = subprocess.Popen(
                [EXECUTABLE, *arguments],
                env=self._environment(name),
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
            )

    def _environment(self, name: str) -> Mapping[str, str]:
        home = self.folder / "homes" / name
        home.mkdir(parents=True, exist_ok=True)
        places = {
            "HOME": str(home),
            "XDG_CACHE_HOME": str(home / "cache"),
            "BACKSTAY_AGENT": str(home / "agent"),
        }
        return {**os.environ, **places}

    def _require(self, name: str, log: Path, ends: float) -> None:
        running = self._processes[name].poll() is None
        assert running and time.monotonic() < ends, log.read_text(errors="replace")[-3000:]
        time.sleep(0.1)

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/api/v1/openapi.json", timeout=5) as answer:
                return "paths" in json.load(answer)
        except (urllib.error.URLError, OSError):
            return False
