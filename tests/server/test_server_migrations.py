"""Migrations lead from every version to the tables of this one, and keep what is in them."""

from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import text

from backstay.domain.errors import ServerError
from backstay.server.database import Database, _alembic
from backstay.server.tables import Base

FIRST_ROWS = """
INSERT INTO administrators (id, name, display_name, role, password_hash, must_change_password, created_at,
    failed_sign_ins) VALUES (1, 'root', '', 'administrator', 'x', false, '2026-01-01 00:00:00', 3);
INSERT INTO api_tokens (id, name, administrator_id, secret_hash, scopes, created_at)
    VALUES (7, 'old', 1, 'y', '["view"]', '2026-01-01 00:00:00')
"""


def test_migrations_make_the_tables_of_this_version(database_url: str) -> None:
    """What the migrations make is what `tables` says, on both databases."""
    database = Database(database_url)
    database.upgrade()
    database.upgrade()
    with database.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
    database.close()


def test_an_upgrade_keeps_the_rows_and_what_refers_to_them(database_url: str) -> None:
    """Rows of the first version are there after the upgrade, and foreign keys hold again."""
    database = Database(database_url)
    config = _alembic(database.url)
    with database.engine.connect() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        for statement in FIRST_ROWS.split(";"):
            connection.execute(text(statement))
        connection.commit()
    database.upgrade()
    with database.read() as db:
        assert db.execute(text("SELECT administrator_id, last_used_address FROM api_tokens")).all() == [
            (1, "")
        ]
        if database.is_sqlite:
            assert db.execute(text("PRAGMA foreign_keys")).scalar() == 1
    database.close()


def test_a_database_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    """An older server refuses to touch it."""
    database = Database(str(tmp_path / "server.db"))
    database.upgrade()
    with database.begin() as db:
        db.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(ServerError, match="newer"):
        database.upgrade()
    database.close()
