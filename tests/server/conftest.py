"""A server with a real database, SQLite or PostgreSQL, and its API without a network between."""

import secrets
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from backstay.server.access import Permission, Role
from backstay.server.app import create_app, open_control
from backstay.server.control import Control
from backstay.server.database import Database
from backstay.server.repositories import Repositories
from backstay.server.settings import ServerKey, ServerSettings
from backstay.server.sign_in import hash_of
from backstay.server.tables import Administrator, ApiToken, RepositoryRow
from backstay.testing.postgres import PostgresServer, running_postgres


class MovableClock:
    """The server's time, which tests move."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        """The time now."""
        return self.now

    def forward(self, **by: float) -> None:
        """Let time pass, as timedelta's arguments say."""
        self.now += timedelta(**by)


@pytest.fixture
def clock() -> MovableClock:
    """A clock that stands still until it is moved."""
    return MovableClock()


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A real PostgreSQL."""
    with running_postgres() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of each kind."""
    if request.param == "sqlite":
        return str(tmp_path / "server.db")
    server: PostgresServer = request.getfixturevalue("postgres")
    return server.new_database()


@pytest.fixture
def control(database_url: str, tmp_path: Path, clock: MovableClock) -> Iterator[Control]:
    """A server process that does nothing by itself, with a repository in a folder."""
    settings = ServerSettings(
        folder=tmp_path / "server",
        database=database_url,
        tls="off",
        public_url="http://backstay.test",
        background=False,
        lease_poll_seconds=0.2,
    )
    control = open_control(settings, clock=clock)
    control.repositories.ensure_first(settings.storage_location, clock())
    yield control
    control.database.close()


@pytest.fixture(scope="session")
def made_databases() -> dict[str, str]:
    """The URL of a database with its tables, by kind, from which others are copied; filled when needed."""
    return {}


@pytest.fixture(params=["sqlite", "postgresql"])
def bare_control(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    clock: MovableClock,
    made_databases: dict[str, str],
) -> Iterator[Control]:
    """As `control`, made much faster: the database is a copy, and there is only the row of a repository."""
    kind = request.param
    if kind == "sqlite":
        if kind not in made_databases:
            made_databases[kind] = str(tmp_path_factory.mktemp("made") / "made.db")
            made = Database(made_databases[kind])
            made.upgrade()
            made.close()
        url = str(shutil.copy(made_databases[kind], tmp_path / "server.db"))
    else:
        server: PostgresServer = request.getfixturevalue("postgres")
        if kind not in made_databases:
            made_databases[kind] = server.new_database()
            made = Database(made_databases[kind])
            made.upgrade()
            made.close()
        url = server.new_database(like=made_databases[kind])
    settings = ServerSettings(
        folder=tmp_path / "server",
        database=url,
        tls="off",
        public_url="http://backstay.test",
        background=False,
        lease_poll_seconds=0.2,
    )
    key = ServerKey.load(settings.folder)
    database = Database(url)
    with database.begin() as db:
        db.add(
            RepositoryRow(
                id="00" * 16,
                name="default",
                location=str(tmp_path / "repository"),
                sealed_passphrase=b"",
                created_at=clock(),
            )
        )
    yield Control(
        settings=settings,
        database=database,
        key=key,
        repositories=Repositories(database, key, settings.folder),
        instance=secrets.token_hex(8),
        clock=clock,
    )
    database.close()


def token_for(control: Control, role: Role) -> str:
    """An API token of a new administrator in this role, with every scope."""
    secret = secrets.token_urlsafe(16)
    with control.database.begin() as db:
        person = Administrator(
            name=f"{role.value}-{secret[:6]}", role=role.value, password_hash="", created_at=control.clock()
        )
        db.add(person)
        db.flush()
        db.add(
            ApiToken(
                name="test",
                administrator_id=person.id,
                secret_hash=hash_of(secret),
                scopes=[permission.value for permission in Permission],
                created_at=control.clock(),
            )
        )
    return secret


@pytest.fixture
def client(control: Control) -> Iterator[TestClient]:
    """The API as an administrator meets it."""
    with TestClient(create_app(control), raise_server_exceptions=False) as client:
        client.headers["Authorization"] = f"Bearer {token_for(control, Role.ADMINISTRATOR)}"
        yield client
