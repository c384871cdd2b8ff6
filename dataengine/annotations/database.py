"""One database, SQLite or PostgreSQL, and its transactions.

SQLite: WAL, `synchronous=FULL`, foreign keys, every writing transaction `BEGIN IMMEDIATE`, one writer a
process (a lock), `busy_timeout` between processes. PostgreSQL: read committed, row locks. A writing
transaction ends with its events' append to the chain, so that what happened and its record are one commit.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Engine
from sqlalchemy.engine import URL, make_url

from dataengine.annotations import events
from dataengine.annotations.errors import StoreError
from dataengine.errors import ConfigError, EngineError

BUSY_SECONDS = 30.0
"""How long a writer waits for another process' transaction; they take milliseconds."""
POOL_SIZE = 8
OVERFLOW = 64
"""Connections beyond the pool at busy moments: more than a server has threads, so that none waits for one."""

Clock = Callable[[], int]


class Transaction:
    """A writing transaction: its connection, the server's time at its start, and the events it will append."""

    def __init__(self, connection: Connection, now: int) -> None:
        self.connection, self.now = connection, now
        self.events: list[events.Happened] = []

    @property
    def is_postgresql(self) -> bool:
        return self.connection.dialect.name == "postgresql"

    def execute(self, statement: Any, *arguments: Any) -> sa.CursorResult[Any]:
        return self.connection.execute(statement, *arguments)

    def record(
        self,
        kind: str,
        *,
        user: int | None = None,
        task: int | None = None,
        image: int | None = None,
        mask: str | None = None,
        **data: Any,
    ) -> None:
        """Notes what happened; appended to the chain at the end, when no other lock is waited for any more."""
        self.events.append(events.Happened(self.now, kind, user, task, image, mask, data))


class Database:
    """Opens (and, with `migrate`, brings up to date) the database at `url`; safe for threads, not across a fork.

    `clock` (ms) replaces the server's clock in tests. By default that is the process' clock for SQLite, which
    lives on one machine, and the database's own for PostgreSQL, whose clients may disagree about the time.
    """

    def __init__(self, url: str, clock: Clock | None = None, *, migrate: bool = True) -> None:
        self.url = checked_url(url)
        self.dialect = self.url.get_backend_name()
        self._clock = clock
        self._writer = threading.Lock()
        self.engine = self._connect()
        try:
            if migrate:
                from dataengine.annotations.migrate import upgrade

                upgrade(self)
        except (sa.exc.OperationalError, sqlite3.Error) as error:
            self.engine.dispose()
            raise EngineError(f"{self.shown}: can't open the annotation database: {_first_line(error)}") from error

    @property
    def shown(self) -> str:
        """The URL without its password."""
        return self.url.render_as_string(hide_password=True)

    def close(self) -> None:
        self.engine.dispose()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A reading transaction: one consistent view on SQLite, and on PostgreSQL by repeatable read."""
        with self.engine.connect() as connection:
            if self.dialect == "postgresql":
                connection = connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            with connection.begin():
                yield connection

    @contextmanager
    def write(self) -> Iterator[Transaction]:
        """A writing transaction: commits when the block ends well, after appending the events it recorded.

        A `StoreError` rolls back as any other error does, but for `commit_and_raise`.
        """
        if self.dialect == "sqlite":
            with self._writer:
                yield from self._transaction()
        else:
            yield from self._transaction()

    def _transaction(self) -> Iterator[Transaction]:
        with self.engine.connect() as connection:
            connection = connection.execution_options(dataengine_begin="IMMEDIATE")
            refusal: StoreError | None = None
            with connection.begin():
                transaction = Transaction(connection, self.now(connection))
                try:
                    yield transaction
                except KeptRefusal as kept:
                    refusal = kept.refusal
                events.append(connection, transaction.events)
            if refusal is not None:
                raise refusal

    def now(self, connection: Connection) -> int:
        """Milliseconds since 1970 of the server's clock."""
        if self._clock is not None:
            return self._clock()
        if self.dialect == "postgresql":
            return int(connection.execute(sa.text("SELECT extract(epoch FROM clock_timestamp()) * 1000")).scalar_one())
        return time.time_ns() // 1_000_000

    def _connect(self) -> Engine:
        if self.dialect == "postgresql":
            try:
                return sa.create_engine(self.url, pool_size=POOL_SIZE, max_overflow=OVERFLOW, pool_pre_ping=True)
            except ImportError as error:
                raise ConfigError(
                    "annotate.database: PostgreSQL needs the package psycopg: pip install 'sa-dataengine[postgres]'"
                ) from error
        path = Path(self.url.database or "")
        if not path.parent.is_dir():
            raise ConfigError(f"{path}: its folder does not exist")
        engine = sa.create_engine(
            self.url,
            pool_size=POOL_SIZE,
            max_overflow=OVERFLOW,
            # None: transactions begin where we say so, not where the driver guesses.
            connect_args={"timeout": BUSY_SECONDS, "isolation_level": None, "check_same_thread": False},
        )
        sa.event.listen(engine, "connect", _prepare_sqlite)
        sa.event.listen(engine, "begin", _begin_sqlite)
        return engine


class KeptRefusal(Exception):  # noqa: N818 - not an error of its own: it carries one out of a transaction
    """Raised inside `Database.write`: commit what was written so far, then raise `refusal`."""

    def __init__(self, refusal: StoreError) -> None:
        super().__init__(str(refusal))
        self.refusal = refusal


def checked_url(url: str) -> URL:
    """`sqlite:////absolute/file` or `postgresql://...` (driver: psycopg 3). Raises ConfigError for others."""
    try:
        parsed = make_url(url)
    except sa.exc.ArgumentError as error:
        raise ConfigError(f"annotate.database: {url!r} is not a database URL") from error
    if parsed.get_backend_name() == "postgresql":
        return parsed.set(drivername="postgresql+psycopg")
    if parsed.get_backend_name() != "sqlite" or parsed.database in (None, "", ":memory:"):
        raise ConfigError(f"annotate.database: {url!r}: use sqlite:///FILE or postgresql://USER@HOST/NAME")
    return parsed


def _prepare_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    connection.execute(f"PRAGMA busy_timeout = {int(BUSY_SECONDS * 1000)}")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")


def _begin_sqlite(connection: Connection) -> None:
    how = connection.get_execution_options().get("dataengine_begin", "DEFERRED")
    connection.exec_driver_sql(f"BEGIN {how}")


def _first_line(error: Exception) -> str:
    cause = getattr(error, "orig", None) or error
    return (str(cause).strip().splitlines() or [type(error).__name__])[0]
