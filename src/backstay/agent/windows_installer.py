"""The script that installs the agent on a Windows file server, as a server gives it away.

irm https://SERVER/install.ps1 | iex
"""

import re
from importlib.resources import files
from typing import Final

from backstay.domain.errors import UsageError

_DIGEST: Final = re.compile(r"[0-9A-Fa-f]{64}")
_ADDRESS: Final = re.compile(r"https?://[^\s'\"`$]+")


def installer(server: str, *, package: str, digest: str, token: str = "") -> str:
    """The PowerShell script.

    Args:
        server: the address at which the agent reaches it.
        package: the address of the zip file that `make agent-windows` makes.
        digest: its SHA-256, 64 hexadecimal digits.
        token: for the enrolment; empty where this machine is enrolled already.

    Raises:
        UsageError: one of them is not what it should be.
    """
    for address in (server, package):
        if not _ADDRESS.fullmatch(address):
            raise UsageError(f"{address!r} is no address", hint="give one that begins with https://")
    if not _DIGEST.fullmatch(digest):
        raise UsageError("that is no SHA-256", hint="give the 64 digits that `make agent-windows` prints")
    text = files("backstay.agent").joinpath("install.ps1").read_text("utf-8")
    values = {"SERVER": server, "TOKEN": token, "PACKAGE": package, "DIGEST": digest.upper()}
    # In one pass: what a value holds is never taken for a place.
    return re.sub(r"@@([A-Z]+)@@", lambda match: quoted(values[match[1]]), text)


def quoted(text: str) -> str:
    """As PowerShell reads it back (about_Quoting_Rules): it takes curly quotes for straight ones."""
    return "'" + re.sub("(['\u2018\u2019\u201a\u201b])", r"\1\1", text) + "'"


def one_line(server: str) -> str:
    """What an administrator pastes into PowerShell."""
    return f"irm {quoted(server.rstrip('/') + '/install.ps1')} | iex"
