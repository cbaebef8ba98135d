"""What a server is told when it starts, and the secrets that it keeps for itself."""

import os
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from backstay.domain.errors import ServerError

_KEY_BYTES = 32
_NONCE_BYTES = 12


@dataclass(frozen=True)
class ServerSettings:
    """How one server process runs.

    Attributes:
        folder: for everything that the server keeps itself: its key, certificate, SQLite database, caches.
        database: URL or path; see database.Database.
        storage: location of the repository that is made at first, as storage.registry reads it.
        data_path: of that repository: "gateway", or "direct" where agents put packs straight to S3.
        host, port: where it listens; port 0 takes a free one.
        public_url: how agents and browsers reach it; empty: https://<this host's name>:<port>.
        tls: "self-signed" (made at the first start), "files" (certificate and key below), or "off"
            (plain HTTP, for behind a proxy or on the loopback address).
        trusted_proxies: addresses whose X-Forwarded-For is believed.
        time_zone: IANA name, of the first policy's nights; empty: this machine's.
        lease_poll_seconds: how long an agent's question for work is held open at most.
        open_metrics: whether /metrics needs no token when it is asked for from this machine itself.
        background: whether it schedules, reaps, notifies and runs server jobs, or only answers.
    """

    folder: Path
    database: str = ""
    storage: str = ""
    data_path: str = "gateway"
    host: str = "0.0.0.0"
    port: int = 8443
    public_url: str = ""
    tls: str = "self-signed"
    certificate: Path | None = None
    private_key: Path | None = None
    trusted_proxies: tuple[str, ...] = ()
    time_zone: str = ""
    lease_poll_seconds: float = 25.0
    open_metrics: bool = False
    background: bool = True

    @property
    def database_url(self) -> str:
        """The database's URL; a SQLite file in the folder where none was named."""
        return self.database or str(self.folder / "server.db")

    @property
    def storage_location(self) -> str:
        """The first repository's location; a folder in the server's folder where none was named."""
        return self.storage or str(self.folder / "repository")


class ServerKey:
    """Seals what the database must not show in the clear: passphrases, notification targets.

    The key is in the file `server.key` of the server's folder, or of all servers' folders where several
    share one database: who copies the database alone opens nothing.
    """

    def __init__(self, key: bytes) -> None:
        self._aead = AESGCM(key)

    @classmethod
    def load(cls, folder: Path) -> "ServerKey":
        """The key in `folder`, made where there is none. Raises ServerError."""
        path = folder / "server.key"
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            try:
                descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            except FileExistsError:
                key = path.read_bytes()
            else:
                key = os.urandom(_KEY_BYTES)
                with os.fdopen(descriptor, "wb") as file:
                    file.write(key)
                    file.flush()
                    os.fsync(file.fileno())
        except OSError as error:
            raise ServerError(
                f"the server's key {path} cannot be read or made: {error.strerror}",
                hint="check the folder's owner and mode, or choose another with --folder",
            ) from error
        if len(key) != _KEY_BYTES:
            raise ServerError(
                f"the server's key {path} has {len(key)} bytes instead of {_KEY_BYTES}",
                hint="put the right file back from a copy; without it passphrases must be entered anew",
            )
        return cls(key)

    def seal(self, data: bytes, purpose: str) -> bytes:
        """Seal `data` for one purpose, a word that must be given again to open it."""
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._aead.encrypt(nonce, data, purpose.encode())

    def open(self, sealed: bytes, purpose: str) -> bytes:
        """What `seal` sealed. Raises ServerError where the key or the purpose is another."""
        try:
            return self._aead.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], purpose.encode())
        except InvalidTag:
            raise ServerError(
                f"a sealed {purpose} in the database does not open with this server's key",
                hint="put the server.key that belongs to this database into the server's folder",
            ) from None
