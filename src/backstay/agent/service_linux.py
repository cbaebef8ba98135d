"""The agent as a service of systemd: https://www.freedesktop.org/software/systemd/man/systemd.service.html."""

import shutil
import subprocess
import sys
from pathlib import Path

from backstay.agent.settings import agent_folder
from backstay.domain.errors import ServerError

UNIT = "backstay-agent.service"
_FOLDER = Path("/etc/systemd/system")

_TEXT = """\
[Unit]
Description=Backstay agent
Wants=network-online.target
After=network-online.target local-fs.target

[Service]
ExecStart={program} agent run
Environment=BACKSTAY_AGENT={folder}
Restart=always
RestartSec=10
# Ends what runs in order, as aborted; what was stored is not sent again.
KillSignal=SIGTERM
TimeoutStopSec=60
Nice=10
IOSchedulingClass=idle
CPUWeight=20
LimitNOFILE=65536
UMask=0077
NoNewPrivileges=yes
ProtectKernelModules=yes
RestrictRealtime=yes
LockPersonality=yes

[Install]
WantedBy=multi-user.target
"""


def unit_text(folder: Path | None = None) -> str:
    """The unit for this installation."""
    beside = Path(sys.executable).parent / "backstay"
    program = (
        str(beside) if beside.exists() else shutil.which("backstay") or f"{sys.executable} -m backstay.cli"
    )
    return _TEXT.format(program=program, folder=folder or agent_folder())


def install(*, start: bool, unit_folder: Path = _FOLDER) -> Path:
    """Write the unit, and enable and start it.

    Raises:
        ServerError: the unit cannot be written, or systemd refuses.
    """
    path = unit_folder / UNIT
    try:
        path.write_text(unit_text())
    except OSError as error:
        raise ServerError(
            f"the unit {path} cannot be written: {error.strerror}",
            hint="run it as root; without systemd start `backstay agent run` in your own way",
        ) from error
    if start:
        for words in (["daemon-reload"], ["enable", "--now", UNIT]):
            _systemctl(words)
    return path


def _systemctl(words: list[str]) -> None:
    try:
        done = subprocess.run(["systemctl", *words], capture_output=True, text=True, check=False)
    except OSError as error:
        raise ServerError(
            f"systemctl cannot be run: {error.strerror}", hint="start `backstay agent run` in your own way"
        ) from error
    if done.returncode:
        raise ServerError(
            f"systemctl {' '.join(words)} failed: {done.stderr.strip() or done.returncode}",
            hint="`journalctl -u backstay-agent` may say more",
        )
