"""Run by alembic: migrates over the connection, and inside the transaction, that `upgrade` hands in."""

from __future__ import annotations

from alembic import context

from dataengine.annotations.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
