"""The agent as a Windows service: https://learn.microsoft.com/windows/win32/services/services.

The service is the program `backstay agent run --as-service`, run as LocalSystem: it reads every file by its
backup privileges, and may ask for shadow copies.
"""

import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any, Final

import pywintypes
import servicemanager
import win32evtlogutil
import win32service
import win32serviceutil

from backstay.domain.errors import BackstayError, ServerError

assert sys.platform == "win32"

NAME: Final = "BackstayAgent"
TITLE: Final = "Backstay agent"
_DESCRIPTION: Final = "Backs up and restores this file server as its Backstay server orders."
_RESTART_AFTER_MS: Final = (10_000, 60_000, 300_000)
_FORGET_FAILURES_AFTER: Final = 24 * 3600
_STOP_MS: Final = 60_000
_FAILED: Final = 1
"""The service's own exit code."""

Run = Callable[[threading.Event], None]


def program() -> str:
    """The command line of the service for this installation."""
    own = [sys.executable] if getattr(sys, "frozen", False) else [sys.executable, "-m", "backstay.cli"]
    return subprocess.list2cmdline([*own, "agent", "run", "--as-service"])


def install(*, start: bool, command: str = "", name: str = NAME) -> str:
    """Register the service, so that it starts with the machine and again after a failure; or renew that.

    Raises:
        ServerError: Windows refuses.
    """
    try:
        with _manager(win32service.SC_MANAGER_ALL_ACCESS) as manager:
            service = _create(manager, name, command or program())
            try:
                _configure(service)
                win32evtlogutil.AddSourceToRegistry(name, servicemanager.__file__, "Application")
                if start:
                    win32service.StartService(service, None)
            finally:
                win32service.CloseServiceHandle(service)
    except pywintypes.error as error:
        raise _refused("installed", error) from error
    return name


def remove(name: str = NAME) -> None:
    """Stop the service and take it away. Raises ServerError."""
    try:
        if status(name) != win32service.SERVICE_STOPPED:
            win32serviceutil.StopService(name)
            win32serviceutil.WaitForServiceStatus(name, win32service.SERVICE_STOPPED, _STOP_MS // 1000)
        win32serviceutil.RemoveService(name)
    except pywintypes.error as error:
        raise _refused("removed", error) from error


def status(name: str = NAME) -> int:
    """The service's state, as SERVICE_RUNNING. Raises pywintypes.error."""
    return int(win32serviceutil.QueryServiceStatus(name)[1])


def host(run: Run, name: str = NAME) -> None:
    """Be the service in this process, which Windows has started as such; returns when it has stopped.

    Args:
        run: the agent, until the event is set.

    Raises:
        ServerError: this process was not started as a service.
    """
    kind = type("AgentService", (_Service,), {"_svc_name_": name, "_run": staticmethod(run)})
    try:
        servicemanager.Initialize(name, servicemanager.__file__)
        servicemanager.PrepareToHostSingle(kind)
        servicemanager.StartServiceCtrlDispatcher()
    except pywintypes.error as error:
        raise ServerError(
            f"the service cannot run here: {error.strerror}",
            hint="Windows starts it: `backstay agent install`; in a terminal use `backstay agent run`",
        ) from error


class _Service(win32serviceutil.ServiceFramework):  # type: ignore[misc]
    """Turns what Windows asks of a service into an event, and how the agent ends into what it expects."""

    _svc_name_ = NAME
    _svc_display_name_ = TITLE
    _run: Run

    def __init__(self, arguments: list[str]) -> None:
        super().__init__(arguments)
        self._stop = threading.Event()

    def GetAcceptedControls(self) -> int:  # noqa: N802  the name is pywin32's
        # A job is ended in order also when the machine goes down: longer than SHUTDOWN would leave for it.
        accepted = int(super().GetAcceptedControls())
        return accepted | int(win32service.SERVICE_ACCEPT_PRESHUTDOWN)

    def SvcOtherEx(self, control: int, event: int, data: Any) -> None:  # noqa: N802
        if control == win32service.SERVICE_CONTROL_PRESHUTDOWN:
            self.SvcStop()

    def SvcStop(self) -> None:  # noqa: N802
        self.ReportServiceStatus(win32service.SERVICE_STOP_PENDING, waitHint=_STOP_MS)
        self._stop.set()

    SvcShutdown = SvcStop

    def SvcDoRun(self) -> None:  # noqa: N802
        tell(servicemanager.EVENTLOG_INFORMATION_TYPE, "the agent has started")
        try:
            type(self)._run(self._stop)
        except BackstayError as error:
            tell(servicemanager.EVENTLOG_ERROR_TYPE, f"{error.what}; {error.hint}".rstrip("; "))
            self._failed()
        except Exception as error:  # noqa: BLE001  the outermost place of this process
            tell(servicemanager.EVENTLOG_ERROR_TYPE, f"a defect of Backstay: {type(error).__name__}: {error}")
            self._failed()
        else:
            tell(servicemanager.EVENTLOG_INFORMATION_TYPE, "the agent has stopped")

    def _failed(self) -> None:
        # Windows counts only a service that stops with an error as failed, and starts it again.
        self.ReportServiceStatus(
            win32service.SERVICE_STOPPED, win32ExitCode=1066, svcExitCode=_FAILED, waitHint=0
        )


def tell(kind: int, text: str) -> None:
    """A line in the Application event log. Never raises: a full log must not stop an agent."""
    try:
        servicemanager.LogMsg(kind, 0xF000, (text, ""))
    except pywintypes.error:
        return


def tell_level(level: str, text: str) -> None:
    """The same, by the level of a logger."""
    kinds = {"warning": servicemanager.EVENTLOG_WARNING_TYPE}
    tell(kinds.get(level, servicemanager.EVENTLOG_ERROR_TYPE), text)


class _manager:  # noqa: N801  reads as a function
    """The service manager, opened for the length of a block."""

    def __init__(self, access: int) -> None:
        self._access = access

    def __enter__(self) -> Any:
        self._handle = win32service.OpenSCManager(None, None, self._access)
        return self._handle

    def __exit__(self, *_: object) -> None:
        win32service.CloseServiceHandle(self._handle)


def _create(manager: Any, name: str, command: str) -> Any:
    # No two services share a title either.
    title = TITLE if name == NAME else name
    own, auto, normal = (
        win32service.SERVICE_WIN32_OWN_PROCESS,
        win32service.SERVICE_AUTO_START,
        win32service.SERVICE_ERROR_NORMAL,
    )
    try:
        service = win32service.OpenService(manager, name, win32service.SERVICE_ALL_ACCESS)
    except pywintypes.error:
        return win32service.CreateService(
            manager,
            name,
            title,
            win32service.SERVICE_ALL_ACCESS,
            own,
            auto,
            normal,
            command,
            None,
            False,
            None,
            None,
            None,
        )
    win32service.ChangeServiceConfig(
        service, own, auto, normal, command, None, False, None, None, None, title
    )
    return service


def _configure(service: Any) -> None:
    actions = [(win32service.SC_ACTION_RESTART, pause) for pause in _RESTART_AFTER_MS]
    for kind, value in (
        (win32service.SERVICE_CONFIG_DESCRIPTION, _DESCRIPTION),
        (
            win32service.SERVICE_CONFIG_FAILURE_ACTIONS,
            {"ResetPeriod": _FORGET_FAILURES_AFTER, "RebootMsg": "", "Command": "", "Actions": actions},
        ),
        (win32service.SERVICE_CONFIG_FAILURE_ACTIONS_FLAG, True),
        (win32service.SERVICE_CONFIG_PRESHUTDOWN_INFO, _STOP_MS),
    ):
        try:
            win32service.ChangeServiceConfig2(service, kind, value)
        except pywintypes.error as error:
            # Wine knows the first of these alone. Without the others the service still runs.
            if error.winerror not in (50, 120, 124):
                raise


def _refused(what: str, error: "pywintypes.error") -> ServerError:
    return ServerError(f"the service cannot be {what}: {error.strerror}", hint="run it as an administrator")
