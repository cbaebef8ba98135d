"""What `backstay login` keeps: where the server is, how it is known, and what opens it.

One file, login.json, for its owner alone, in BACKSTAY_CONFIG or the user's folder for settings (XDG).
"""

import json
import os
import tempfile
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from backstay.domain.errors import NotSignedIn, UsageError

VARIABLE = "BACKSTAY_CONFIG"


@dataclass(frozen=True)
class Login:
    """One server, and a way in.

    Attributes:
        url: without a slash at its end.
        token: an API token.
        certificate: PEM, the only one that is accepted; empty: the authorities that this machine trusts.
        made_here: whether the token was made for this login, so that nobody else uses it.
    """

    url: str
    token: str
    certificate: str = ""
    made_here: bool = False


def config_folder() -> Path:
    """BACKSTAY_CONFIG, or `backstay` in the user's folder for settings."""
    chosen = os.environ.get(VARIABLE)
    if chosen:
        return Path(chosen)
    base = os.environ.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path.home() / ".config") / "backstay"


def keep(login: Login) -> Path:
    """Write it down, in place of the one before, whole or not at all. Raises UsageError."""
    folder = config_folder()
    file = folder / "login.json"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor, name = tempfile.mkstemp(dir=folder, prefix=".login-")  # made with mode 0600
        try:
            with os.fdopen(descriptor, "w") as out:
                json.dump(asdict(login), out)
            Path(name).replace(file)
        except BaseException:
            with suppress(OSError):
                Path(name).unlink()
            raise
    except OSError as error:
        raise UsageError(
            f"the login cannot be kept in {file}: {error.strerror}",
            hint=f"check the folder's owner and mode, or set {VARIABLE} to another folder",
        ) from error
    return file


def kept() -> Login:
    """The login that was kept. Raises NotSignedIn where there is none, UsageError where it cannot be read."""
    file = config_folder() / "login.json"
    try:
        fields = json.loads(file.read_bytes())
        return Login(
            str(fields["url"]),
            str(fields["token"]),
            str(fields.get("certificate", "")),
            bool(fields.get("made_here", False)),
        )
    except FileNotFoundError:
        raise NotSignedIn("this command needs a server", hint="log in first: backstay login URL") from None
    except OSError as error:
        raise UsageError(
            f"the login {file} cannot be read: {error.strerror}", hint="check its owner and mode"
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UsageError(f"the login {file} is damaged", hint="log in again: backstay login URL") from None


def forget() -> None:
    """Delete it, where there is one. Raises UsageError."""
    file = config_folder() / "login.json"
    try:
        file.unlink(missing_ok=True)
    except OSError as error:
        raise UsageError(
            f"the login {file} cannot be deleted: {error.strerror}", hint="delete it by hand"
        ) from error
