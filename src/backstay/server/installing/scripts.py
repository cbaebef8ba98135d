"""The scripts that install the agent on a file server, and the line that fetches one, checks it and runs it.

Nothing of a script is run before its SHA-256 is found to be the one in the line, which was shown to somebody
who is signed in; the script then holds the digest of the package, and the token that of the server's
certificate. So it does not matter who answers, and a certificate that no authority signed needs no exception.
"""

import re
import shlex
from importlib.resources import files
from typing import Final

from backstay.domain.errors import UsageError

WINDOWS: Final = "install.ps1"
LINUX: Final = "install.sh"

_DIGEST: Final = re.compile(r"[0-9A-Fa-f]{64}")
_ADDRESS: Final = re.compile(r"https?://[^\s'\"`$]+")


def installer(script: str, server: str, *, package: str, digest: str) -> str:
    """The text of a script.

    Args:
        script: WINDOWS or LINUX.
        server: the address at which the agent reaches it.
        package: the address of what it installs.
        digest: the package's SHA-256, 64 hexadecimal digits.

    Raises:
        UsageError: one of them is not what it should be.
    """
    for address in (server, package):
        if not _ADDRESS.fullmatch(address):
            raise UsageError(f"{address!r} is no address", hint="give one that begins with https://")
    if not _DIGEST.fullmatch(digest):
        raise UsageError("that is no SHA-256", hint="give the 64 digits that `sha256sum` prints")
    text = files("backstay.server.installing").joinpath(script).read_text("utf-8")
    on_windows = script == WINDOWS
    values = {
        "SERVER": server,
        "PACKAGE": package,
        "NAME": package.rpartition("/")[2],
        "DIGEST": digest.upper() if on_windows else digest.lower(),
    }
    quote = quoted if on_windows else shlex.quote
    # In one pass: what a value holds is never taken for a place.
    return re.sub(r"@@([A-Z]+)@@", lambda match: quote(values[match[1]]), text)


def quoted(text: str) -> str:
    """As PowerShell reads it back (about_Quoting_Rules): it takes curly quotes for straight ones."""
    return "'" + re.sub("(['\u2018\u2019\u201a\u201b])", r"\1\1", text) + "'"


def line_for_linux(server: str, digest: str, token: str) -> str:
    """What root pastes into a shell.

    Args:
        digest: SHA-256 of the script.
    """
    address = shlex.quote(f"{server.rstrip('/')}/{LINUX}")
    return (
        f'f=$(mktemp) && curl -fsSk -o "$f" {address} && echo "{digest.lower()}  $f" | sha256sum -c --quiet'
        f' && sh "$f" {shlex.quote(token)}; rm -f "$f"'
    )


def line_for_windows(server: str, digest: str, token: str) -> str:
    """What an administrator pastes into PowerShell; curl.exe is part of Windows since Server 2019."""
    address = quoted(f"{server.rstrip('/')}/{WINDOWS}")
    return (
        f"$f = Join-Path $env:TEMP 'backstay-install.ps1'; curl.exe -fsSk -o $f {address}; "
        f"if ((Get-FileHash -Algorithm SHA256 $f).Hash -ne '{digest.upper()}') "
        "{ throw 'This is not the script of your server; nothing was run.' }; "
        f"powershell -NoProfile -ExecutionPolicy Bypass -File $f {quoted(token)}"
    )
