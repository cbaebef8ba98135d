"""What tells one machine, one boot and one process from another."""

import contextlib
import platform
import secrets
import sys
import uuid
from pathlib import Path

INSTANCE = secrets.token_hex(12)
"""Random, of this process."""

_STARTED = f"process-{INSTANCE}"


def machine_id() -> str:
    """Of this machine: machine-id(5), MachineGuid of Windows, or else the address of a network card."""
    if sys.platform == "win32":
        import winreg

        with contextlib.suppress(OSError):
            with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, r"SOFTWARE\Microsoft\Cryptography") as key:
                return str(winreg.QueryValueEx(key, "MachineGuid")[0])[:64]
    for path in ("/etc/machine-id", "/var/lib/dbus/machine-id"):
        with contextlib.suppress(OSError):
            found = Path(path).read_text().strip()
            if found:
                return found[:64]
    return f"{platform.node()[:40]}-{uuid.getnode():x}"


def boot_id() -> str:
    """Of this boot: /proc/sys/kernel/random/boot_id, see random(4); of this process where there is none."""
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()[:64]
    return _STARTED
