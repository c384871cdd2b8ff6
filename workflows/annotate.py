"""`dataengine annotate`: the annotation server of one home, with what keeps its queue filled."""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace

from fastapi import FastAPI
from rich.console import Console

from dataengine.annotations import ASSISTED_MANUAL, STAGES, Store, store_of
from dataengine.annotator import ServerSettings, create_app
from dataengine.annotator.decoding import SamDecoder
from dataengine.annotator.protocols import Media
from dataengine.annotator.serving import bind, first_link, serve, serving_beside, url_of
from dataengine.errors import ConfigError, EngineError
from dataengine.home import Home
from dataengine.home.owner import Owner
from dataengine.home.units import committed
from stages.assisted_manual import ActorQueue
from workflows.ingest import WORKFLOW as INGEST
from workflows.ingest import rows_of

WORKFLOW = "annotate"
REFILL_SECONDS = 30.0
"""How often the catalog is looked at for images that came while people work."""
FORGET_SECONDS = 24 * 3600.0
"""How often answers to writes of long ago are deleted, first when the server starts."""

log = logging.getLogger(__name__)


def open_annotations(home: Home, stage: str = ASSISTED_MANUAL) -> Store:
    """The home's store, for a stage that there is. Raises ConfigError."""
    if stage not in STAGES:
        raise ConfigError(f"--stage {stage}: people annotate in {' and '.join(STAGES)}")
    return store_of(home, stage)


def annotate(
    home: Home,
    store: Store,
    media: Media,
    console: Console,
    *,
    host: str = "127.0.0.1",
    port: int = 8080,
    settings: ServerSettings | None = None,
    beside: AbstractContextManager[object] | None = None,
) -> None:
    """Serves the page and the API until interrupted. `beside` runs meanwhile: what makes embeddings.

    Raises EngineError when ingest has not run, when the port is taken, or when another server of this home runs
    on the same SQLite file (PostgreSQL takes several).
    """
    settings = _named(home, settings)
    with _opened(home, store, media, settings, host, port, beside) as (app, listener):
        url = url_of(listener, host)
        serve(app, listener, lambda: _greet(store, settings, url, console))


@contextmanager
def annotating(
    home: Home,
    store: Store,
    media: Media,
    console: Console,
    *,
    host: str = "127.0.0.1",
    port: int = 8080,
    beside: AbstractContextManager[object] | None = None,
) -> Iterator[str]:
    """`annotate` in a thread while the block runs, for whoever has other work meanwhile; yields the page's URL."""
    settings = _named(home, None)
    with (
        _opened(home, store, media, settings, host, port, beside) as (app, listener),
        serving_beside(app, listener),
    ):
        url = url_of(listener, host)
        _greet(store, settings, url, console)
        yield url


def _named(home: Home, settings: ServerSettings | None) -> ServerSettings:
    return replace(settings or ServerSettings(), home=home.storage.url.rstrip("/").rpartition("/")[2])


@contextmanager
def _opened(
    home: Home,
    store: Store,
    media: Media,
    settings: ServerSettings,
    host: str,
    port: int,
    beside: AbstractContextManager[object] | None,
) -> Iterator[tuple[FastAPI, socket.socket]]:
    """The application and its listening socket, with all that runs beside it."""
    with ExitStack() as stack:
        if store.database.dialect == "sqlite":
            stack.enter_context(Owner(home.storage, WORKFLOW))
        listener = stack.enter_context(contextlib.closing(bind(host, port)))
        parts = take_catalog(home, store, 0)
        if not parts:
            raise EngineError(f"ingest has not run yet; run it first: dataengine ingest {home.storage.url}")
        app = create_app(store, media, settings, queue=ActorQueue(store), decoder=SamDecoder())
        stack.enter_context(_refilling(home, store, parts))
        if beside is not None:
            stack.enter_context(beside)
        yield app, listener


def _greet(store: Store, settings: ServerSettings, url: str, console: Console) -> None:
    console.print(f"annotate at {url}   (Ctrl-C ends the server; nothing is lost)", highlight=False, soft_wrap=True)
    link = first_link(store, settings, url)
    if link is not None:
        minutes = round(settings.link_seconds / 60)
        console.print(
            f"first log-in, as admin, once, within {minutes} minutes: {link}", highlight=False, soft_wrap=True
        )


def take_catalog(home: Home, store: Store, known: int) -> int:
    """Takes new catalog parts into the store; returns how many parts there are."""
    parts = len(committed(home.storage, INGEST))
    if parts > known:
        store.images.fill(rows_of(home), home.config.shards.short_side, home.config.annotate.overlap)
    return parts


@contextmanager
def _refilling(home: Home, store: Store, parts: int) -> Iterator[None]:
    stop = threading.Event()

    def run() -> None:
        known, forget_at = parts, time.monotonic()
        while not stop.wait(REFILL_SECONDS):
            try:
                known = take_catalog(home, store, known)
                if time.monotonic() >= forget_at:
                    store.work.forget_answers()
                    forget_at = time.monotonic() + FORGET_SECONDS
            except Exception as error:  # the next round tries again; people go on with what is there
                log.warning("the catalog or the database could not be read: %s", error)

    thread = threading.Thread(target=run, name="refill", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(timeout=10)
