"""A server in this process, over a small store, with small real pictures and embeddings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from dataengine.annotations import Store, open_store
from dataengine.annotator import ServerSettings, create_app
from dataengine.annotator.access import COOKIE
from dataengine.annotator.decoding import SamDecoder
from schemas.annotations import User
from tests.dataengine.annotations.world import Clock, World
from tests.dataengine.annotator.small_media import SmallMedia

ORIGIN = "http://testserver"
LogIn = Callable[[User], TestClient]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Iterator[Store]:
    opened = open_store(f"sqlite:///{tmp_path}/annotations.db", clock=clock)
    yield opened
    opened.close()


@pytest.fixture
def world(store: Store, clock: Clock) -> World:
    return World.peopled(store, clock, images=6)


@pytest.fixture
def web(tmp_path: Path) -> Path:
    """A built page: what `make web` leaves."""
    folder = tmp_path / "dist"
    (folder / "assets").mkdir(parents=True)
    (folder / "index.html").write_text("<!doctype html><title>page</title>")
    (folder / "icon.svg").write_text("<svg/>")
    (folder / "assets" / "app-1234.js").write_text("1")
    (tmp_path / "secret.txt").write_text("secret")
    return folder


@pytest.fixture
def app(world: World, web: Path):
    settings = ServerSettings(home="a home", web=web, logins_per_minute=3)
    return create_app(world.store, SmallMedia(), settings, decoder=SamDecoder())


@pytest.fixture
def log_in(app, world: World) -> Iterator[LogIn]:
    """A browser of this user: session cookie and origin, as after a log-in."""
    clients: list[TestClient] = []

    def make(user: User) -> TestClient:
        client = TestClient(app, headers={"origin": ORIGIN})
        client.cookies.set(COOKIE, world.store.people.issue(user.id, "session", 3600))
        clients.append(client)
        return client

    yield make
    for client in clients:
        client.close()


@pytest.fixture
def stranger(app) -> Iterator[TestClient]:
    with TestClient(app, headers={"origin": ORIGIN}) as client:
        yield client
