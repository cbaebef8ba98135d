"""Where an agent keeps what it needs to know: its server, its identity, its state."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from backstay.agent.protection import hide, make_private, reveal
from backstay.domain.errors import ServerError, UsageError
from backstay.system.host import service_base

_FILE = "agent.json"


def agent_folder() -> Path:
    """The agent's folder: BACKSTAY_AGENT, or where services of this system keep their data."""
    return Path(os.environ.get("BACKSTAY_AGENT") or service_base() / "agent")


@dataclass(frozen=True)
class AgentSettings:
    """What enrolment gave.

    Attributes:
        url: the server's address.
        certificate: PEM of the only certificate to trust; empty: whom the system trusts.
        file_server_id, name, secret: who this agent is.
    """

    url: str
    certificate: str
    file_server_id: int
    name: str
    secret: str

    def save(self, folder: Path) -> None:
        """Keep them durably, readable by the owner alone. Raises ServerError."""
        path = folder / _FILE
        aside = path.with_suffix(".aside")
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            make_private(folder)
            aside.unlink(missing_ok=True)
            with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                json.dump(asdict(self) | {"secret": hide(self.secret)}, file)
                file.flush()
                os.fsync(file.fileno())
            aside.replace(path)
        except OSError as error:
            raise ServerError(
                f"the agent's settings {path} cannot be written: {error.strerror}",
                hint="run it as root, or choose another folder with BACKSTAY_AGENT",
            ) from error

    @classmethod
    def load(cls, folder: Path) -> "AgentSettings":
        """The settings in a folder. Raises UsageError."""
        path = folder / _FILE
        try:
            kept = json.loads(path.read_text())
            return cls(**kept | {"secret": reveal(kept["secret"])})
        except FileNotFoundError:
            raise UsageError(
                f"this agent is not enrolled: there is no {path}",
                hint="run `backstay agent enrol URL TOKEN` with a token from the console",
            ) from None
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise UsageError(
                f"the agent's settings {path} cannot be read: {error}",
                hint="check the file's mode and content, or enrol anew",
            ) from None
