"""Every test of the store runs twice: on SQLite, and on a PostgreSQL started for the test session."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dataengine.annotations import Store, open_store
from tests.dataengine.annotations.postgres import PostgresServer
from tests.dataengine.annotations.world import Clock, World


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    with PostgresServer.started() as server:
        yield server


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A URL of an empty database of either kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/annotations.db"
    server: PostgresServer = request.getfixturevalue("postgres_server")
    return server.new_database()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(database_url: str, clock: Clock) -> Iterator[Store]:
    opened = open_store(database_url, clock=clock)
    yield opened
    opened.close()


@pytest.fixture
def world(store: Store, clock: Clock) -> World:
    """Six ready images of 60 x 40 px, two annotators, a reviewer, an admin, a service."""
    return World.peopled(store, clock, images=6)
