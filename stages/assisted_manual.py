"""Stage 1 (paper section 4): people and the model together. Who gets which task is decided by one actor.

`TaskQueue` hands out leases; the store's transactions make that safe, the actor makes it fair and takes the
contention off the database. Whoever asks goes through `ActorQueue`, which decides on the store itself while
Ray is away: people never wait for a cluster.
"""

from __future__ import annotations

import hashlib
import logging
import os
import threading
import time
from typing import Any

import ray
from ray.exceptions import RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from dataengine.annotations import LeaseRules, Store, StoreError, open_store
from schemas.annotations import Claim, Held, LeaseKind, User

NAMESPACE = "dataengine"
ANSWER_SECONDS = 3.0
"""A person waits no longer than that for the actor; then the store is asked directly."""
REST_SECONDS = 5.0
"""After a failure the actor is left alone for so long: it restarts by itself."""

log = logging.getLogger(__name__)


@ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=3, max_concurrency=16)
class TaskQueue:
    """Decides leases of one home's stage. Holds nothing: it may die and be asked again, any call twice."""

    def __init__(self, database_url: str, stage: str, rules: LeaseRules) -> None:
        self._store = open_store(database_url, stage, rules)

    def ready(self) -> int:
        """Its process id."""
        return os.getpid()

    def claim(self, who: User, kind: LeaseKind, mutation: str) -> Claim:
        return self._store.queue.claim(who, kind, mutation)

    def heartbeat(self, who: User, task_id: int, lease_id: str, fence: int) -> int:
        return self._store.queue.heartbeat(who, task_id, lease_id, fence)

    def release(self, who: User, task_id: int, held: Held) -> dict[str, Any]:
        return self._store.queue.release(who, task_id, held)

    def steal(self, admin: User, task_id: int, mutation: str) -> dict[str, Any]:
        return self._store.queue.steal(admin, task_id, mutation)


def queue_name(store: Store) -> str:
    """The actor's name: one for each database and stage."""
    digest = hashlib.sha256(store.database.url.render_as_string(hide_password=True).encode()).hexdigest()
    return f"task-queue-{store.stage}-{digest[:16]}"


def start_queue(store: Store) -> Any:
    """A handle to the detached actor of this store, which is started when there is none.

    SQLite lives on this machine, so its actor must; PostgreSQL is reached from anywhere.
    """
    options: dict[str, Any] = {}
    if store.database.dialect == "sqlite":
        here = ray.get_runtime_context().get_node_id()
        options["scheduling_strategy"] = NodeAffinitySchedulingStrategy(here, soft=False)
    actor = TaskQueue.options(  # type: ignore[attr-defined]
        name=queue_name(store), namespace=NAMESPACE, lifetime="detached", get_if_exists=True, **options
    )
    return actor.remote(store.database.url.render_as_string(hide_password=False), store.stage, store.rules)


class ActorQueue:
    """`QueueClient` that asks the `TaskQueue` actor and, when Ray or the actor doesn't answer, the store.

    Safe because both decide in the same database: a call that was given up and comes through later finds its
    mutation answered. For several threads.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._actor: Any = None
        self._starting: Any = None
        """What tells that the actor has come up; None as soon as it has."""
        self._resting_until = 0.0
        self.by_actor = 0
        self.by_store = 0

    def claim(self, who: User, kind: LeaseKind, mutation: str) -> Claim:
        found: Claim = self._ask("claim", who, kind, mutation)
        return found

    def heartbeat(self, who: User, task_id: int, lease_id: str, fence: int) -> int:
        return int(self._ask("heartbeat", who, task_id, lease_id, fence))

    def release(self, who: User, task_id: int, held: Held) -> dict[str, Any]:
        return dict(self._ask("release", who, task_id, held))

    def steal(self, admin: User, task_id: int, mutation: str) -> dict[str, Any]:
        return dict(self._ask("steal", admin, task_id, mutation))

    def _ask(self, method: str, *arguments: Any) -> Any:
        try:
            actor = self._handle()
            if actor is not None:
                answer = ray.get(getattr(actor, method).remote(*arguments), timeout=ANSWER_SECONDS)
                self.by_actor += 1
                return answer
        except RayTaskError as error:
            # A refusal is an answer.
            if isinstance(error.cause, StoreError):
                raise error.cause from None
            self._rest(error)
        except Exception as error:  # Ray raises many kinds while it comes and goes; none of them is the person's
            self._rest(error)
        self.by_store += 1
        return getattr(self._store.queue, method)(*arguments)

    def ready(self) -> bool:
        """Whether the next call goes to the actor; starts it where there is none. Never waits for it."""
        with self._lock:
            if not ray.is_initialized() or time.monotonic() < self._resting_until:
                return False
            if self._actor is None:
                self._actor = start_queue(self._store)
                self._starting = self._actor.ready.remote()
            if self._starting is not None:
                if not ray.wait([self._starting], timeout=0)[0]:
                    return False
                ray.get(self._starting)
                self._starting = None
            return True

    def _handle(self) -> Any:
        return self._actor if self.ready() else None

    def _rest(self, error: Exception) -> None:
        with self._lock:
            if time.monotonic() >= self._resting_until:
                said = (str(error).strip().splitlines() or [type(error).__name__])[0]
                log.warning("the task queue's actor does not answer, the store decides meanwhile: %s", said)
            self._actor = self._starting = None
            self._resting_until = time.monotonic() + REST_SECONDS
