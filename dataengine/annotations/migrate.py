"""Bringing a database up to the schema of this version, with alembic."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError

from dataengine.errors import EngineError

if TYPE_CHECKING:
    from dataengine.annotations.database import Database

MIGRATION_LOCK = 0x5A_DA7A_E61F


def upgrade(database: Database) -> None:
    """Creates or upgrades the tables; one process does it, others wait. Nothing happens when all is current.

    Raises EngineError when the database was written by a newer version of this package.
    """
    config = alembic_config()
    newest = ScriptDirectory.from_config(config).get_current_head()
    with database.engine.connect() as connection:
        if current(connection) == newest:
            return
    with database.engine.connect() as plain:
        connection = plain.execution_options(dataengine_begin="IMMEDIATE")
        with connection.begin():
            if database.dialect == "postgresql":
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(MIGRATION_LOCK)))
            config.attributes["connection"] = connection
            try:
                command.upgrade(config, "head")
            except CommandError as error:
                raise EngineError(
                    f"{database.shown}: this database was made by a newer version of the data engine; upgrade it"
                ) from error


def alembic_config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    return config


def current(connection: sa.Connection) -> str | None:
    """The revision the database is at; None for an empty one."""
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar_one_or_none()
