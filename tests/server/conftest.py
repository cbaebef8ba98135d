"""A server with a real database, SQLite or PostgreSQL, and its API without a network between."""

import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher
from sqlalchemy.orm import make_transient

from backstay.cli import logs
from backstay.repository.keyring import Secrets
from backstay.repository.repository import Repository
from backstay.server import alerts, passwords
from backstay.server.access import Permission, Role
from backstay.server.app import create_app, open_control
from backstay.server.control import Control
from backstay.server.database import Database
from backstay.server.settings import ServerSettings
from backstay.server.sign_in import hash_of
from backstay.server.tables import Administrator, ApiToken, RepositoryRow
from backstay.storage.registry import open_storage
from backstay.testing.postgres import PostgresServer, running_postgres

logs.configure("error")

PASSWORD = "a calm sea at dawn"
"""Of everybody in `people`."""


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


@pytest.fixture(scope="session", autouse=True)
def quiet_logs() -> None:
    """Servers log to standard error, as they do when they are started, and only what matters."""
    logs.configure("warning")


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
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty database of each kind."""
    if request.param == "sqlite":
        yield str(tmp_path / "server.db")
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    url = server.new_database()
    yield url
    server.drop(url)


@dataclass(frozen=True)
class Prototype:
    """A server with empty tables and an empty repository; each test gets a copy, for making one is slow."""

    folder: Path
    secrets: Secrets


@pytest.fixture(scope="session")
def prototype(tmp_path_factory: pytest.TempPathFactory) -> Prototype:
    """The server that is copied, on SQLite."""
    folder = tmp_path_factory.mktemp("prototype")
    control = open_control(_settings(folder, str(folder / "server.db")))
    control.repositories.ensure_first(control.settings.storage_location, datetime(2026, 11, 25, tzinfo=UTC))
    with control.database.read() as db:
        row = db.query(RepositoryRow).one()
    opened = control.repositories.get(row.id).secrets
    control.database.close()
    return Prototype(folder, opened)


@pytest.fixture(scope="session")
def postgres_prototype(postgres: PostgresServer, prototype: Prototype) -> str:
    """A database with the prototype's rows, to be copied."""
    url = postgres.new_database()
    database = Database(url)
    database.upgrade()
    with sqlite_of(prototype.folder).read() as source:
        row = source.query(RepositoryRow).one()
        source.expunge(row)
    make_transient(row)
    with database.begin() as db:
        db.add(row)
    database.close()
    return url


def sqlite_of(folder: Path) -> Database:
    """The SQLite database in a server's folder."""
    return Database(str(folder / "server.db"))


@pytest.fixture(params=["sqlite", "postgresql"])
def control(
    request: pytest.FixtureRequest, tmp_path: Path, clock: MovableClock, prototype: Prototype
) -> Iterator[Control]:
    """A server process that does nothing by itself, with a repository in a folder, on each database."""
    folder = tmp_path / "server"
    shutil.copytree(prototype.folder, folder)
    url = str(folder / "server.db")
    server: PostgresServer | None = None
    if request.param == "postgresql":
        server = request.getfixturevalue("postgres")
        url = server.new_database(like=request.getfixturevalue("postgres_prototype"))
    settings = _settings(folder, url)
    control = open_control(settings, clock=clock)
    with control.database.begin() as db:
        row = db.query(RepositoryRow).one()
        row.location = settings.storage_location
    repository = Repository.open_with(
        open_storage(settings.storage_location), prototype.secrets, cache=folder / "cache"
    )
    control.repositories.know(repository)
    yield control
    control.database.close()
    if server is not None:
        server.drop(url)


def _settings(folder: Path, database: str) -> ServerSettings:
    return ServerSettings(
        folder=folder,
        database=database,
        tls="off",
        public_url="http://backstay.test",
        background=False,
        lease_poll_seconds=0.2,
    )


@pytest.fixture(scope="session", autouse=True)
def looks_are_not_put_off() -> None:
    """A busy machine makes looks for alerts dear, and the server would make them rarer than tests expect."""
    alerts._SHARE = 1e6


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


@pytest.fixture(scope="module")
def cheap_hashes() -> Iterator[None]:
    """Real argon2id, with the least memory: for tests that try dozens of passwords."""
    with pytest.MonkeyPatch.context() as patch:
        cheap = PasswordHash((Argon2Hasher(time_cost=1, memory_cost=64, parallelism=1),))
        patch.setattr(passwords, "_hasher", lambda: cheap)
        passwords._nobodys_hash.cache_clear()
        yield
    passwords._nobodys_hash.cache_clear()


@pytest.fixture
def app(control: Control) -> FastAPI:
    """The application."""
    return create_app(control)


@cache
def kept_password() -> str:
    """The hash of everybody's password, made once: it is slow on purpose."""
    return passwords.hashed(PASSWORD)


@pytest.fixture
def people(control: Control) -> None:
    """One administrator of each role, named as the role."""
    with control.database.begin() as db:
        for role in Role:
            db.add(
                Administrator(
                    name=role.value,
                    role=role.value,
                    password_hash=kept_password(),
                    created_at=control.clock(),
                )
            )


Browsers = Callable[[str], TestClient]


@pytest.fixture
def browser_of(app: FastAPI, people: None) -> Iterator[Browsers]:
    """Browsers in which somebody has signed in."""
    with TestClient(app, base_url="http://backstay.test", follow_redirects=False) as first:

        def signed_in(name: str) -> TestClient:
            browser = (
                first
                if not first.cookies
                else TestClient(app, base_url="http://backstay.test", follow_redirects=False)
            )
            answer = browser.post("/sign-in", data={"name": name, "password": PASSWORD})
            assert answer.status_code == 303
            return browser

        yield signed_in


def csrf_of(browser: TestClient) -> str:
    """The token that the forms of a session carry."""
    found = re.search(r'name="csrf_token" value="([^"]+)"', browser.get("/account").text)
    assert found is not None
    return found.group(1)
