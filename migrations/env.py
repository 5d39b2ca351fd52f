"""Alembic's environment; the connection is that of `jobs.store.database`."""

from __future__ import annotations

from alembic import context

from jobs.store.tables import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,
    compare_server_default=True,
)
with context.begin_transaction():
    context.run_migrations()
