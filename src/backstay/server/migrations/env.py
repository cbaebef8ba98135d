"""How alembic reaches the database: through the connection that `Database.upgrade` gives it."""

from alembic import context

from backstay.server.tables import Base

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=Base.metadata, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
