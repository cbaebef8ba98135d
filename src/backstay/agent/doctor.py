"""Looks at everything that an agent depends on; disturbs no agent that runs, and changes nothing."""

import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from pathlib import Path

from backstay.agent.inventory import take_inventory
from backstay.agent.machine import INSTANCE
from backstay.agent.service_linux import UNIT
from backstay.agent.settings import AgentSettings
from backstay.domain.checkup import Check, Verdict, failed, ok, warning
from backstay.domain.size import format_size
from backstay.filesystem.metadata import CARRIES_MODES
from backstay.protocol.certificate import fingerprint_of, pinned_certificate
from backstay.protocol.client import AgentClient
from backstay.protocol.report import WhoAmIReply
from backstay.recovery_points.registry import provider_for, read_mounts
from backstay.system.calls import os

_LEAST_ROOM, _SCARCE_ROOM = 256 << 20, 2 << 30
_CLOCK_SECONDS = 300
_PROGRAMS = {"lvm": ("lvs", "lvcreate", "lvremove"), "zfs": ("zfs",), "btrfs": ()}
"""What each provider calls; btrfs is asked by ioctl(2) alone."""


@dataclass
class AgentSubject:
    """The agent of a folder on this machine; it may be running or not."""

    folder: Path

    @cached_property
    def settings(self) -> AgentSettings:
        """What enrolment gave. Raises UsageError."""
        return AgentSettings.load(self.folder)

    @cached_property
    def answer(self) -> tuple[WhoAmIReply, float]:
        """What the server says of this agent, and how many seconds its clock is ahead. Raises ServerError."""
        settings = self.settings
        client = AgentClient(
            settings.url, settings.certificate, (settings.file_server_id, settings.secret), INSTANCE
        )
        try:
            before = time.time()
            reply = client.who_am_i()
            middle = (before + time.time()) / 2
        finally:
            client.close()
        return reply, middle - reply.server_time_ns / 1e9


def enrolled(subject: AgentSubject) -> Iterator[Verdict]:
    """The agent is enrolled, and its secret is its own."""
    settings = subject.settings
    path = subject.folder / "agent.json"
    mode = stat.S_IMODE(path.stat().st_mode)
    if CARRIES_MODES and mode & 0o077:
        yield failed(
            f"{path} has the mode {mode:04o}: others may read the agent's secret",
            f"chmod 0600 {path}; if somebody may have read it, revoke the agent's credential and enrol anew",
        )
    else:
        yield ok(f"enrolled as {settings.name} with {settings.url}")


def certificate(subject: AgentSubject) -> Iterator[Verdict]:
    """The server shows the certificate that enrolment pinned."""
    settings = subject.settings
    if not settings.url.startswith("https:"):
        yield warning(
            f"{settings.url} is reached without TLS", "let the server, or a proxy before it, speak TLS"
        )
    elif settings.certificate:
        wanted = fingerprint_of(settings.certificate)
        pinned_certificate(settings.url, wanted)
        yield ok(f"the server's certificate has the fingerprint {wanted[:16]}…, as pinned")


def server(subject: AgentSubject) -> Iterator[Verdict]:
    """The server can be reached, and the credential holds."""
    reply, _ = subject.answer
    if reply.name != subject.settings.name:
        yield failed(
            f"the server calls this file server {reply.name}, the agent {subject.settings.name}",
            "enrol it anew",
        )
    else:
        yield ok(f"{subject.settings.url} answers (Backstay {reply.version}), and the credential holds")


def clock(subject: AgentSubject) -> Iterator[Verdict]:
    """The clock is the server's, about."""
    _, ahead = subject.answer
    saw = f"the clock is {abs(ahead):.1f} s {'ahead of' if ahead > 0 else 'behind'} the server's"
    if abs(ahead) > _CLOCK_SECONDS:
        yield warning(saw, "set it, and let systemd-timesyncd or chrony keep it right")
    else:
        yield ok(saw)


def rights(subject: AgentSubject) -> Iterator[Verdict]:
    """Only root reads every file and takes recovery points."""
    if os.geteuid() == 0:
        yield ok("runs as root")
    else:
        yield warning(
            f"runs as user {os.geteuid()}, not as root: files that it may not read are left out",
            "run the agent as root, as `backstay agent install` sets it up",
        )


def recovery_points(subject: AgentSubject) -> Iterator[Verdict]:
    """For each volume: what freezes it, and whether that can be done here."""
    mounts = read_mounts()
    for volume in take_inventory().volumes:
        mount = mounts.holding(os.fsencode(volume.path))
        provider = provider_for(mount) if mount is not None else None
        if provider is None:
            yield ok(f"{volume.path} ({volume.filesystem}) cannot be frozen: its files are read live")
            continue
        missing = [name for name in _PROGRAMS.get(provider.name, ()) if shutil.which(name) is None]
        if missing:
            yield warning(
                f"{volume.path} could be frozen by {provider.name}, but {', '.join(missing)} is not there",
                f"install the programs of {provider.name}; until then its files are read live",
            )
        elif os.geteuid() != 0:
            yield warning(
                f"{volume.path} can be frozen by {provider.name} as root only", "run the agent as root"
            )
        else:
            yield ok(f"{volume.path} is frozen by {provider.name}")


def room(subject: AgentSubject) -> Iterator[Verdict]:
    """There is room for what the agent remembers and for its spool."""
    free = shutil.disk_usage(subject.folder).free
    saw = f"{subject.folder} has {format_size(free)} left"
    mend = "make room, or put the folder elsewhere with BACKSTAY_AGENT"
    if free < _LEAST_ROOM:
        yield failed(saw, mend)
    else:
        yield warning(saw, mend) if free < _SCARCE_ROOM else ok(saw)


def service(subject: AgentSubject) -> Iterator[Verdict]:
    """The agent starts with the machine, and runs."""
    if shutil.which("systemctl") is None or not Path("/run/systemd/system").exists():
        yield warning(
            "there is no systemd on this machine", "see that `backstay agent run` is started with the machine"
        )
        return
    enabled, active = _systemctl("is-enabled"), _systemctl("is-active")
    if enabled != "enabled":
        yield failed(f"the unit {UNIT} is {enabled or 'not there'}", "run `backstay agent install`")
    elif active != "active":
        yield failed(
            f"the unit {UNIT} is enabled, but {active}",
            f"`systemctl start {UNIT}`; `journalctl -u {UNIT}` says why it ended",
        )
    else:
        yield ok(f"the unit {UNIT} is enabled and active")


def _systemctl(word: str) -> str:
    limit = timedelta(seconds=10).total_seconds()
    try:
        done = subprocess.run(
            ["systemctl", word, UNIT], capture_output=True, text=True, check=False, timeout=limit
        )
    except subprocess.TimeoutExpired:
        return "not told by systemd in time"
    return done.stdout.strip()


CHECKS: list[Check[AgentSubject]] = [
    Check("enrolment", enrolled),
    Check("certificate", certificate),
    Check("server", server),
    Check("clock", clock),
    Check("rights", rights),
    Check("recovery points", recovery_points),
    Check("room", room),
    Check("service", service),
]
"""In this order."""

if sys.platform == "win32":
    from backstay.agent import doctor_windows

    # What Linux and Windows look at in different ways is looked at once.
    _own = {check.name for check in doctor_windows.CHECKS}
    CHECKS = [check for check in CHECKS if check.name not in {*_own, "recovery points"}]
    CHECKS += doctor_windows.CHECKS


def is_agent(folder: Path) -> bool:
    """Whether an agent was enrolled in this folder."""
    try:
        return (folder / "agent.json").exists()
    except OSError:
        return False
