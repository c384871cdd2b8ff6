"""The queue's actor on a real Ray: it dies, restarts, goes away; people notice nothing."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest
import ray

from dataengine.annotations import ForbiddenError, open_store
from stages import assisted_manual
from stages.assisted_manual import ActorQueue, start_queue
from tests.dataengine.annotations.world import Clock, World, new_id

pytestmark = pytest.mark.usefixtures("ray_cluster")


@pytest.fixture
def world(tmp_path: Path):
    # Two processes decide here: both must read the machine's own clock.
    store = open_store(f"sqlite:///{tmp_path}/annotations.db")
    yield World.peopled(store, Clock(), images=12)
    ray.kill(start_queue(store))
    store.close()


def wait_for(queue: ActorQueue) -> None:
    deadline = time.monotonic() + 60
    while not queue.ready():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_the_actor_decides_and_refuses(world: World) -> None:
    queue = ActorQueue(world.store)
    pid = ray.get(start_queue(world.store).ready.remote())
    assert pid != os.getpid()
    wait_for(queue)
    mutation = new_id()
    first = queue.claim(world.anna, "annotate", mutation)
    assert first.task_id is not None and queue.claim(world.anna, "annotate", mutation) == first
    with pytest.raises(ForbiddenError, match="needs the role"):
        queue.claim(world.anna, "review", new_id())
    with pytest.raises(ForbiddenError):
        queue.steal(world.anna, first.task_id, new_id())
    assert first.lease is not None
    assert queue.heartbeat(world.anna, first.task_id, first.lease, first.fence) >= first.expires_at
    assert queue.steal(world.adam, first.task_id, new_id()) == {"state": "ready"}
    assert queue.by_actor >= 4 and queue.by_store == 0
    # A second server finds the same actor.
    assert ray.get(start_queue(world.store).ready.remote()) == pid


def test_a_killed_actor_costs_nothing_and_comes_back(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assisted_manual, "REST_SECONDS", 0.2)
    queue = ActorQueue(world.store)
    actor = start_queue(world.store)
    pid = ray.get(actor.ready.remote())
    claimed: list[int] = []
    failures: list[Exception] = []

    def work(who) -> None:
        try:
            for _ in range(3):
                found = queue.claim(who, "annotate", new_id())
                assert found.task_id is not None and found.lease is not None, found.empty
                claimed.append(found.task_id)
        except Exception as error:
            failures.append(error)

    wait_for(queue)
    os.kill(pid, signal.SIGKILL)
    threads = [threading.Thread(target=work, args=(who,)) for who in (world.anna, world.ben, world.rita, world.adam)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert queue.by_actor + queue.by_store == 12
    assert sorted(claimed) == list(range(1, 13)), "each task once"
    deadline = time.monotonic() + 30
    while (again := ray.get(actor.ready.remote())) == pid:
        assert time.monotonic() < deadline
    assert again != pid and world.store.verify().problems == []


def test_without_ray_the_store_decides(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assisted_manual.ray, "is_initialized", lambda: False)
    queue = ActorQueue(world.store)
    assert queue.claim(world.anna, "annotate", new_id()).task_id == 1
    assert (queue.by_actor, queue.by_store) == (0, 1)
