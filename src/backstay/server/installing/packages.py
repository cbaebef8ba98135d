"""The agent's packages in the server's folder `agents`, which an administrator fills."""

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from backstay.server.installing import scripts
from backstay.server.settings import ServerSettings

WINDOWS_PACKAGE = "backstay-agent-windows.zip"
_LINUX_PACKAGES = "backstay-*-py3-none-any.whl"
_PIECE = 1 << 20


@dataclass(frozen=True)
class Package:
    """One that the server can give away."""

    path: Path
    digest: str

    @property
    def name(self) -> str:
        """Of its file."""
        return self.path.name


def folder_of(settings: ServerSettings) -> Path:
    """Where they are put."""
    return settings.folder / "agents"


def package_for(settings: ServerSettings, script: str) -> Package | None:
    """What a script installs: the newest that is there, or None."""
    folder = folder_of(settings)
    pattern = WINDOWS_PACKAGE if script == scripts.WINDOWS else _LINUX_PACKAGES
    found = [(path.stat().st_mtime_ns, path) for path in folder.glob(pattern) if path.is_file()]
    if not found:
        return None
    changed_ns, path = max(found)
    return Package(path, _digest(path, changed_ns, path.stat().st_size))


@lru_cache(maxsize=16)
def _digest(path: Path, changed_ns: int, size: int) -> str:
    """SHA-256 of a file that is still as old and long as this."""
    whole = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            whole.update(piece)
    return whole.hexdigest()


def script_text(settings: ServerSettings, script: str, server: str) -> str | None:
    """The script as this server gives it away; None where it has no package for it.

    Args:
        server: the address at which agents reach it.

    Raises:
        UsageError: that is no address.
    """
    package = package_for(settings, script)
    if package is None:
        return None
    address = f"{server}/agents/{package.name}"
    return scripts.installer(script, server, package=address, digest=package.digest)


def digest_of(text: str) -> str:
    """SHA-256 of a script as it is sent."""
    return hashlib.sha256(text.encode()).hexdigest()
