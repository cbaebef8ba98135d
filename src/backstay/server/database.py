"""The database: SQLite (WAL) to begin with, PostgreSQL to grow; one set of migrations for both."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, event, func, select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DataError, DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session, sessionmaker

from backstay.domain.errors import ServerError, UsageError
from backstay.server.settings import ServerKey

SERVER_KEY = "backstay.key"

_BUSY_MILLISECONDS = 20_000
_THREADS = 64
_ONE_VIEW = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
_MIGRATIONS = Path(__file__).parent / "migrations"


class Lock(IntEnum):
    """What one transaction of all servers may do at a time; the numbers are PostgreSQL's advisory locks."""

    MIGRATIONS = 7420001
    AUDIT = 7420002
    ADMINISTRATORS = 7420003


def hold(db: Session, lock: Lock) -> None:
    """Wait for the lock, and hold it until the transaction ends. On SQLite every writer is alone anyway.

    https://www.postgresql.org/docs/current/explicit-locking.html#ADVISORY-LOCKS
    """
    if db.get_bind().dialect.name == "postgresql":
        db.execute(select(func.pg_advisory_xact_lock(int(lock))))


class Database:
    """Sessions of one database. Safe to use from several threads.

    Args:
        url: of SQLAlchemy: `sqlite:////var/lib/backstay/server.db` or `postgresql://user@host/name`; a plain
            path is a SQLite file.
        key: of the server: sessions carry it in `info[SERVER_KEY]`. Without it nothing that is written to the
            audit log can be committed.

    Raises:
        UsageError: it cannot be understood.
    """

    def __init__(self, url: str, key: ServerKey | None = None) -> None:
        self.url = _normalised(url)
        self.is_sqlite = self.url.startswith("sqlite")
        # The connection that was used last is used next: few stay warm, and the others cost no memory.
        options: dict[str, Any] = {"pool_use_lifo": True}
        if self.is_sqlite:
            # One for each thread: to open a connection anew takes longer than what it is for.
            options |= {"pool_size": _THREADS, "max_overflow": -1}
            options["connect_args"] = {"timeout": _BUSY_MILLISECONDS / 1000, "check_same_thread": False}
        else:
            # PostgreSQL allows a hundred unless it is told otherwise: enough for three server processes.
            options |= {
                "pool_pre_ping": True,
                "pool_size": 20,
                "max_overflow": 10,
                "pool_timeout": _BUSY_MILLISECONDS / 1000,
            }
        self.engine: Engine = create_engine(self.url, **options)
        if self.is_sqlite:
            _prepare_sqlite(self.engine)
        self._sessions = sessionmaker(self.engine, expire_on_commit=False, info={SERVER_KEY: key})
        self._writing = threading.Lock()

    @contextmanager
    def begin(self) -> Iterator[Session]:
        """A session in a transaction that may write; committed at the end, rolled back by an exception.

        On SQLite the writers of one process take turns here, instead of sleeping and trying in turn.

        Raises:
            ServerError: the database cannot be used.
        """
        if self.is_sqlite:
            with self._writing, self._session("IMMEDIATE") as session:
                yield session
        else:
            with self._session("") as session:
                yield session

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A session that only reads, one consistent view. Raises ServerError."""
        with self._session("DEFERRED", reads=True) as session:
            yield session

    @contextmanager
    def _session(self, kind: str, *, reads: bool = False) -> Iterator[Session]:
        try:
            with self._sessions() as session, session.begin():
                if self.is_sqlite:
                    session.connection().exec_driver_sql(f"BEGIN {kind}")
                elif reads:
                    session.connection(execution_options=_ONE_VIEW)
                yield session
        except DataError as error:
            raise UsageError(
                f"the database cannot store this: {_reason(error)}",
                hint="leave out characters that are no text, and numbers that are too large",
            ) from error
        except OperationalError as error:
            raise ServerError(
                f"the database cannot be used: {_reason(error)}",
                hint="check that it is there, has room and can be reached; `backstay doctor` looks closer",
            ) from error
        except PoolTimeout as error:
            raise ServerError(
                "the database cannot be used: all connections to it have been busy for too long",
                hint="look at its load and its locks; more server processes help where it has room",
            ) from error

    def upgrade(self) -> None:
        """Bring the tables to this version; also makes them. Several servers may call it at once.

        Raises:
            ServerError: it cannot be reached, or is of a newer Backstay.
        """
        try:
            with self.engine.connect() as connection:
                if self.is_sqlite:
                    # https://www.sqlite.org/lang_altertable.html#otheralter: dropping the old form of a table
                    # would touch what refers to it. Outside of a transaction, as inside it does nothing.
                    connection.exec_driver_sql("PRAGMA foreign_keys=OFF")
                    connection.exec_driver_sql("BEGIN IMMEDIATE")
                else:
                    connection.exec_driver_sql(f"SELECT pg_advisory_lock({Lock.MIGRATIONS:d})")
                _refuse_newer(MigrationContext.configure(connection).get_current_revision())
                config = _alembic(self.url)
                config.attributes["connection"] = connection
                command.upgrade(config, "head")
                if self.is_sqlite:
                    _refuse_dangling(connection)
                connection.commit()
                if not self.is_sqlite:
                    connection.exec_driver_sql(f"SELECT pg_advisory_unlock({Lock.MIGRATIONS:d})")
        except DBAPIError as error:
            raise ServerError(
                f"the database cannot be opened: {_reason(error)}",
                hint="check --database: a path for SQLite, or postgresql://user:password@host/name",
            ) from error
        finally:
            if self.is_sqlite:
                self.engine.dispose()  # connections that are made anew mind foreign keys again

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()


def _normalised(url: str) -> str:
    if "://" not in url:
        return f"sqlite:///{Path(url).absolute()}"
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise UsageError(
            "the database's URL cannot be understood",
            hint="write a path for SQLite, or postgresql://user:password@host/name",
        ) from None
    if parsed.drivername in {"postgresql", "postgres"}:
        parsed = parsed.set(drivername="postgresql+psycopg")
    if parsed.get_backend_name() not in {"sqlite", "postgresql"}:
        raise UsageError(
            f"{parsed.get_backend_name()} is no database that Backstay knows",
            hint="use SQLite (a path) or PostgreSQL (postgresql://…)",
        )
    return parsed.render_as_string(hide_password=False)


def _prepare_sqlite(engine: Engine) -> None:
    @event.listens_for(engine, "connect")
    def connected(connection: Any, _: object) -> None:
        # Transactions are begun by hand: the driver would begin them late and as readers.
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.execute(f"PRAGMA busy_timeout={_BUSY_MILLISECONDS}")
        cursor.close()


def _alembic(url: str) -> Config:
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
    return config


def _refuse_dangling(connection: Connection) -> None:
    dangling = connection.exec_driver_sql("PRAGMA foreign_key_check").first()
    if dangling is not None:
        raise ServerError(
            f"the upgrade of the database was undone: in {dangling[0]} something refers to nothing",
            hint="the database is as it was; please report it, and go on with the version before",
        )


def newest_revision() -> str:
    """The version of the tables that this Backstay makes."""
    return ScriptDirectory(str(_MIGRATIONS)).get_current_head() or ""


def _refuse_newer(revision: str | None) -> None:
    known = {script.revision for script in ScriptDirectory(str(_MIGRATIONS)).walk_revisions()}
    if revision is not None and revision not in known:
        raise ServerError(
            f"the database was made by a newer Backstay (its version is {revision})",
            hint="install that version here, or restore the database from before the upgrade",
        )


def _reason(error: DBAPIError) -> str:
    return str(error.orig).strip().splitlines()[0] if error.orig else type(error).__name__
