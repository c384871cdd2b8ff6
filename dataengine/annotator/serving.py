"""Running the application under uvicorn."""

from __future__ import annotations

import ipaddress
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn
from fastapi import FastAPI

from dataengine.annotations import Store
from dataengine.annotator.settings import ServerSettings
from dataengine.errors import EngineError

GOODBYE_SECONDS = 5
START_SECONDS = 30.0
BACKLOG = 2048


def bind(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one. Raises EngineError when it can't be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise EngineError(
            f"can't listen on {host}, port {port}: {error.strerror or error}; choose another with --port"
        ) from error
    listener.listen(BACKLOG)
    return listener


def url_of(listener: socket.socket, host: str) -> str:
    """Where a person on this machine finds the server; `localhost` for loopback and wildcard addresses."""
    port = listener.getsockname()[1]
    try:
        address = ipaddress.ip_address(host)
        name = "localhost" if address.is_loopback or address.is_unspecified else host
    except ValueError:
        name = host
    return f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}"


def first_link(store: Store, settings: ServerSettings, url: str) -> str | None:
    """A one-time link for the first admin, as long as nobody can log in as admin; else None.

    Each call ends the link before: what a start printed and nobody used is worth nothing after the next.
    """
    people = store.people
    if people.has_admin():
        return None
    waiting = [user["id"] for user in people.all() if user["role"] == "admin" and user["active"]]
    admin_id = waiting[0] if waiting else people.add("admin", "admin").id
    secret = people.issue(admin_id, "link", settings.link_seconds, "first start")
    # In the fragment: browsers don't send it, so it ends in no log.
    return f"{url}/#link={secret}"


def serve(app: FastAPI, listener: socket.socket, started: Callable[[], None] | None = None) -> None:
    """Serves until SIGINT or SIGTERM; open requests get some seconds to end. `started`: called once it answers."""
    with _ending_is_normal():
        _Server(_config(app), started).run(sockets=[listener])


@contextmanager
def serving_beside(app: FastAPI, listener: socket.socket) -> Iterator[None]:
    """Serves in a thread while the block runs. EngineError when it doesn't come up."""
    up = threading.Event()
    server = _Server(_config(app), up.set)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="annotator", daemon=True)
    thread.start()
    try:
        if not up.wait(START_SECONDS):
            raise EngineError("the annotator's server didn't start")
        yield
    finally:
        server.should_exit = True
        thread.join(timeout=2 * GOODBYE_SECONDS)


def _config(app: FastAPI) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        # Who is behind a proxy is the proxy's word: believed only where an operator runs uvicorn himself.
        proxy_headers=False,
        timeout_graceful_shutdown=GOODBYE_SECONDS,
    )


@contextmanager
def _ending_is_normal() -> Iterator[None]:
    """uvicorn ends in good order at SIGINT and SIGTERM and then sends itself the signal again: that one is for nothing.

    So whoever called `serve` gets to put away what he holds.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, started: Callable[[], None] | None) -> None:
        super().__init__(config)
        self._on_start = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started and self._on_start is not None:
            self._on_start()
