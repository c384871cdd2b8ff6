"""The server of a home as a process of its own: first log-in, kill -9 at the worst moment, backup and restore."""

from __future__ import annotations

import contextlib
import re
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from dataengine.annotations import Store, store_of
from dataengine.annotator.serving import bind
from dataengine.annotator.settings import WEB
from dataengine.errors import ConfigError, EngineError
from dataengine.home import Home, create_home
from tests.catalogued_home import add_part, catalogued_home
from tests.dataengine.annotations.world import MODEL, draft, new_id
from tests.dataengine.annotator.calls import claim, finish, mask_body
from tests.dataengine.annotator.small_media import SmallMedia
from tests.workflows.conftest import run_here
from workflows.annotate import annotate, open_annotations, take_catalog
from workflows.ingest import rows_of

SERVER = textwrap.dedent(
    """
    import os, signal, sys
    from rich.console import Console
    from dataengine.home import open_home
    from tests.dataengine.annotator.small_media import SmallMedia
    from workflows import annotate as workflow

    home = open_home(sys.argv[1])
    deadly = int(sys.argv[3]) if len(sys.argv) > 3 else 0

    class DiesBeforeTheAck:
        '''The store has committed the n-th mask, the answer is about to leave: now.'''

        def __init__(self, app):
            self.app, self.saves = app, 0

        async def __call__(self, scope, receive, send):
            async def killing(message):
                if message["type"] == "http.response.start" and "/masks/" in scope["path"]:
                    self.saves += 1
                    if self.saves == deadly:
                        os.kill(os.getpid(), signal.SIGKILL)
                await send(message)
            await self.app(scope, receive, killing if scope["type"] == "http" else send)

    if deadly:
        serve = workflow.serve
        workflow.serve = lambda app, *rest: serve(DiesBeforeTheAck(app), *rest)
    store = workflow.open_annotations(home)
    workflow.annotate(home, store, SmallMedia(), Console(width=400), port=int(sys.argv[2]))
    """
)


class Server:
    """`workflows.annotate` in a process of its own."""

    def __init__(self, home: Home, port: int = 0, deadly: int = 0) -> None:
        command = [sys.executable, "-c", SERVER, home.storage.url, str(port), str(deadly)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert self.process.stdout is not None
        self.lines: list[str] = []
        for line in self.process.stdout:
            self.lines.append(line)
            if line.startswith("annotate at"):
                break
        else:
            raise AssertionError("".join(self.lines))
        found = re.search(r"http://localhost:(\d+)", self.lines[-1])
        assert found is not None
        self.port = int(found[1])
        self.url = found[0]

    def link(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        found = re.search(r"#link=(\S+)", line)
        assert found is not None, line
        return found[1]

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(timeout=60) == 0


@contextmanager
def serving(home: Home, port: int = 0, deadly: int = 0) -> Iterator[Server]:
    server = Server(home, port, deadly)
    try:
        yield server
    finally:
        server.kill()


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return catalogued_home(tmp_path / "a home", images=6)


@pytest.fixture
def store(home: Home) -> Iterator[Store]:
    opened = store_of(home)
    opened.images.promote(MODEL)
    yield opened
    opened.close()


def ready(store: Store, images: int = 6) -> None:
    for number in range(1, images + 1):
        store.images.embedding_ready(number, MODEL.encoder)


def browser(url: str, store: Store, name: str) -> httpx.Client:
    """A program's client, with a token."""
    user = store.people.add(name, "annotator")
    token = store.people.issue(user.id, "write", 3600)
    return httpx.Client(base_url=url, headers={"authorization": f"Bearer {token}"}, timeout=60)


def test_first_start_and_second_server(home: Home, store: Store) -> None:
    with serving(home) as server:
        link = server.link()
        with httpx.Client(base_url=server.url, headers={"origin": server.url}) as client:
            assert client.post("/api/session/link", json={"token": link}).json()["user"]["role"] == "admin"
            answer = client.put("/api/users/me", json={"name": "chief", "password": "a good password"})
            assert answer.status_code == 200, answer.text
            state = client.get("/api/state").json()
            assert state["home"] == "home" and state["counts"]["pending"] == 6, "filled from the catalog"
            page = client.get("/")
            assert page.status_code == (200 if (WEB / "index.html").is_file() else 503)
            assert ("<title>" if page.status_code == 200 else "make web") in page.text
        with pytest.raises(EngineError, match="already run by process"):
            annotate(home, store, SmallMedia(), Console(), port=0)
        with pytest.raises(EngineError, match="choose another with --port"):
            bind("127.0.0.1", server.port)
        server.stop()
    with serving(home) as server:
        server.stop()
        assert server.process.stdout is not None
        assert "first log-in" not in server.process.stdout.read(), "there is an admin now"


def test_ingest_comes_first(tmp_path: Path) -> None:
    empty = create_home(str(tmp_path / "empty"), [str(tmp_path)])
    with contextlib.closing(store_of(empty)) as store, pytest.raises(EngineError, match="ingest has not run yet"):
        annotate(empty, store, SmallMedia(), Console(), port=0)
    with pytest.raises(ConfigError, match="assisted-manual and semi-automatic"):
        open_annotations(empty, "fully-automatic")


def test_images_that_come_while_people_work(home: Home, store: Store) -> None:
    assert take_catalog(home, store, 0) == 1 and store.queue.counts()["pending"] == 6
    more = [row.model_copy(update={"image_id": row.image_id + 6}) for row in rows_of(home)]
    rejected = more[0].model_copy(update={"image_id": 13, "status": "rejected", "reason": "truncated"})
    add_part(home, 1, [*more, rejected])
    assert take_catalog(home, store, 1) == 2 and store.queue.counts()["pending"] == 12


def test_kill_between_save_and_ack_loses_nothing(home: Home, store: Store) -> None:
    """The server dies after its commit and before its answer; the page sends the same mutation again."""
    with serving(home, deadly=3) as server:
        ready(store)
        client = browser(server.url, store, "anna")
        task = claim(client)
        saves = [(new_id(), mask_body(task, x=2 + 10 * number, prominence=number)) for number in range(4)]
        acknowledged = []
        with pytest.raises(httpx.TransportError):
            for mask_id, body in saves:
                client.put(f"/api/tasks/{task['id']}/masks/{mask_id}", json=body).raise_for_status()
                acknowledged.append(mask_id)
        assert len(acknowledged) == 2
        assert server.process.wait(timeout=30) == -signal.SIGKILL
        port = server.port
    with serving(home, port) as server:
        # The outbox drains: everything again, acknowledged or not.
        for mask_id, body in saves:
            answer = client.put(f"/api/tasks/{task['id']}/masks/{mask_id}", json=body)
            assert answer.json() == {"revision": 1}
        masks = client.get("/api/tasks/mine").json()["tasks"][0]["masks"]
        assert [mask["id"] for mask in masks] == [mask_id for mask_id, _ in saves]
        assert finish(client, task).json() == {"state": "submitted"}
        server.stop()
    report = store.verify()
    assert report.problems == [] and report.revisions == 4


@pytest.mark.slow
def test_kills_at_any_moment(home: Home, store: Store) -> None:
    """People who never stop, a server that is killed again and again: whatever was acknowledged is there, once."""
    acknowledged: dict[str, int] = {}
    stop = threading.Event()
    port = 0
    with serving(home) as server:
        ready(store)
        port = server.port
        clients = [browser(server.url, store, f"person {number}") for number in range(3)]
        tasks = [claim(client) for client in clients]

        def work(client: httpx.Client, task: dict) -> None:
            while not stop.is_set():
                mask_id, body = new_id(), mask_body(task)
                while not stop.is_set():
                    try:
                        answer = client.put(f"/api/tasks/{task['id']}/masks/{mask_id}", json=body)
                    except httpx.TransportError:
                        time.sleep(0.05)
                        continue
                    acknowledged[mask_id] = answer.json()["revision"]
                    break

        threads = [threading.Thread(target=work, args=pair) for pair in zip(clients, tasks, strict=True)]
        for thread in threads:
            thread.start()
        for _ in range(2):
            time.sleep(1.0)
            server.kill()
            server = Server(home, port)
        time.sleep(1.0)
        stop.set()
        for thread in threads:
            thread.join()
        server.kill()
    held = {mask.id: mask.revision for task in tasks for mask in store.queue.task(task["id"]).masks}
    assert len(acknowledged) > 20
    assert acknowledged.items() <= held.items() and set(held.values()) == {1}
    assert len(held) - len(acknowledged) <= 3, "at most the one in each hand was saved and not acknowledged"
    assert store.verify().problems == []


def test_commands_around_the_store(home: Home, store: Store, tmp_path: Path) -> None:
    with serving(home) as server:
        ready(store)
        client = browser(server.url, store, "anna")
        task = claim(client)
        client.put(f"/api/tasks/{task['id']}/masks/{new_id()}", json=mask_body(task, suggestion=draft(side=5).rle))
        copy = tmp_path / "backup.db"
        assert "MB" in run_here("annotations", "backup", home.storage.url, copy)
        refused = run_here("annotations", "restore", home.storage.url, copy, "--replace", expect=1)
        assert "already run by process" in refused
        client.put(f"/api/tasks/{task['id']}/masks/{new_id()}", json=mask_body(task, x=30, prominence=1))
        server.stop()
    assert " 2 mask revisions" in run_here("annotations", "verify", home.storage.url)
    run_here("annotations", "export", home.storage.url, tmp_path / "figures")
    table = pq.read_table(tmp_path / "figures" / "masks.parquet").to_pylist()
    assert [(row["author"], row["clicks"], row["edit_iou"]) for row in table] == [("anna", 2, 0.25), ("anna", 2, None)]
    assert pq.read_table(tmp_path / "figures" / "annotators.parquet")["masks"].to_pylist() == [2]
    store.close()
    assert "1 mask revisions restored" in run_here("annotations", "restore", home.storage.url, copy, "--replace")
    kept = list((tmp_path / "a home" / "home").glob("annotations.db.before-*"))
    assert len(kept) == 1
    database = tmp_path / "a home" / "home" / "annotations.db"
    with sqlite3.connect(database) as connection:
        connection.execute("UPDATE mask SET counts = 'PR2'")
    assert "differs from its newest revision" in run_here("annotations", "verify", home.storage.url, expect=1)


def test_a_home_in_an_object_store_needs_another_database(tmp_path: Path) -> None:
    from dataengine.annotations import database_url
    from dataengine.home.storage import Storage
    from schemas import EngineConfig

    with pytest.raises(EngineError, match="not on a local disk"):
        database_url(Home(Storage("memory://home"), EngineConfig()))
