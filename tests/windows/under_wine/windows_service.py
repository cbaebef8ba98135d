"""The agent as a Windows service, and its secret at rest."""

import ctypes
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import win32service

from backstay.agent import service_windows
from backstay.agent.protection import hide, make_private, reveal
from backstay.agent.settings import AgentSettings
from backstay.domain.errors import ServerError, UsageError

WINE = hasattr(ctypes.WinDLL("ntdll"), "wine_get_version")
SETTINGS = AgentSettings("https://server", "", 7, "files", "the secret of this agent")

PROGRAM = """
import pathlib, sys, threading
from backstay.agent.service_windows import host
from backstay.domain.errors import UsageError
name, folder, how = sys.argv[1:]
folder = pathlib.Path(folder)

def run(stop):
    (folder / "began").touch()
    if how == "fails":
        raise UsageError("not enrolled", hint="enrol")
    stop.wait()
    # A job that is ended in order takes its time.
    threading.Event().wait(1.0)
    (folder / "ended").touch()

host(run, name)
"""


class Service:
    """A service of its own for each test."""

    def __init__(self, folder: Path) -> None:
        self.name = f"BackstayTest{uuid.uuid4().hex[:8]}"
        self.folder = folder
        (folder / "program.py").write_text(PROGRAM)

    def install(self, how: str) -> None:
        """Install and start it."""
        words = [sys.executable, str(self.folder / "program.py"), self.name, str(self.folder), how]
        service_windows.install(start=True, command=subprocess.list2cmdline(words), name=self.name)

    def wait(self, wanted: int) -> None:
        """Until it is in that state."""
        ends = time.monotonic() + 90
        while service_windows.status(self.name) != wanted:
            assert time.monotonic() < ends, f"state {service_windows.status(self.name)}"
            time.sleep(0.1)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """A service that is gone afterwards."""
    service = Service(tmp_path)
    yield service
    service_windows.remove(service.name)


def test_runs_and_stops_in_order(service: Service) -> None:
    """It runs until it is told to stop, and is stopped only when the agent has ended what it did."""
    service.install("runs")
    service.wait(win32service.SERVICE_RUNNING)
    while not (service.folder / "began").exists():
        time.sleep(0.05)
    assert not (service.folder / "ended").exists()
    service_windows.win32serviceutil.StopService(service.name)
    service.wait(win32service.SERVICE_STOPPED)
    assert (service.folder / "ended").exists()


def test_an_agent_that_cannot_run_stops_with_an_error(service: Service) -> None:
    """A service that fails is not one that hangs: Windows sees an exit code, and starts it again later."""
    service.install("fails")
    service.wait(win32service.SERVICE_STOPPED)
    assert (service.folder / "began").exists()
    _, _, _, exit_code, own_code, _, _ = service_windows.win32serviceutil.QueryServiceStatus(service.name)
    assert (exit_code, own_code) == (1066, 1)


def test_starts_with_the_machine(service: Service) -> None:
    """Installing again renews what is there."""
    service.install("runs")
    service_windows.install(start=False, command="other.exe", name=service.name)
    manager = win32service.OpenSCManager(None, None, win32service.SC_MANAGER_ALL_ACCESS)
    handle = win32service.OpenService(manager, service.name, win32service.SERVICE_ALL_ACCESS)
    found = win32service.QueryServiceConfig(handle)
    assert found[1] == win32service.SERVICE_AUTO_START
    assert found[3] == "other.exe"
    if not WINE:
        actions = win32service.QueryServiceConfig2(handle, win32service.SERVICE_CONFIG_FAILURE_ACTIONS)
        assert [pause for _, pause in actions["Actions"]] == [10_000, 60_000, 300_000]
    win32service.CloseServiceHandle(handle)
    win32service.CloseServiceHandle(manager)


def test_a_terminal_is_no_service() -> None:
    """Whoever starts it by hand is told what to do instead."""
    with pytest.raises(ServerError, match="cannot run here") as caught:
        service_windows.host(lambda stop: None, "BackstayTestNone")
    assert "backstay agent run" in caught.value.hint


def test_the_program_is_this_installation() -> None:
    """The command line starts the agent as a service."""
    assert service_windows.program().endswith("agent run --as-service")
    assert sys.executable in service_windows.program()


def test_secrets_are_sealed_at_rest(tmp_path: Path) -> None:
    """What enrolment gave is not readable in the file, and comes back."""
    SETTINGS.save(tmp_path / "agent")
    kept = (tmp_path / "agent" / "agent.json").read_text()
    assert SETTINGS.secret not in kept
    assert "dpapi:" in kept
    assert AgentSettings.load(tmp_path / "agent") == SETTINGS


def test_damaged_secrets_are_told(tmp_path: Path) -> None:
    """A file from another machine leads to enrolling anew, not to a traceback."""
    SETTINGS.save(tmp_path / "agent")
    path = tmp_path / "agent" / "agent.json"
    path.write_text(path.read_text().replace("dpapi:", "dpapi:AAAA"))
    with pytest.raises(UsageError, match="cannot be read"):
        AgentSettings.load(tmp_path / "agent")
    with pytest.raises(OSError, match="damaged"):
        reveal("dpapi:?")
    assert reveal(hide("x")) == "x"


@pytest.mark.skipif(WINE, reason="wine 8 keeps no access lists")
def test_the_folder_is_private(tmp_path: Path) -> None:
    """Only the system and administrators have access to the agent's folder."""
    make_private(tmp_path)
    said = subprocess.run(["icacls", str(tmp_path)], capture_output=True, text=True, check=True).stdout
    assert "SYSTEM" in said
    assert "Users" not in said
