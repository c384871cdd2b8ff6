"""Simulated people for `benchmarks.annotations`: they claim, save, pause, review and never give up."""

from __future__ import annotations

import random
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
import numpy as np

from dataengine.masks import encode
from schemas.annotations import AnnotationModel

WIDTH, HEIGHT = 640, 480
MASKS_PER_IMAGE = 4
REJECTED = 0.05
"""Share of the reviews that reject."""
AWAY = 0.1
"""Share of the tasks in which a person goes away for longer than a lease lasts."""
MODEL = AnnotationModel(id="m", name="none", encoder="e", input_size=1024, embedding_size=64, source="nano")


@dataclass
class Seen:
    """What all clients together were told by the server. `orphans`: masks refused and kept as drafts."""

    saved: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Mask id -> (task, revision) of what was acknowledged."""
    orphans: set[str] = field(default_factory=set)
    claims: list[tuple[int, int, str]] = field(default_factory=list)
    """(task, fence, lease) of every claim."""
    accepted: list[int] = field(default_factory=list)
    finished: int = 0
    allowed: float = float("inf")
    """Images that may be finished, and accepted, before the next disturbance: it shall meet people at work."""
    retries: int = 0
    lost: int = 0
    """Leases that ran out in somebody's hands."""
    problems: list[str] = field(default_factory=list)
    save_seconds: list[float] = field(default_factory=list)
    claim_seconds: list[float] = field(default_factory=list)


class Gone(Exception):  # noqa: N818 - not an error: the lease has gone to somebody else
    pass


class Person:
    """One client of the HTTP API, in a thread: annotates and, with the role, reviews."""

    def __init__(self, url: str, token: str, seen: Seen, away_seconds: float, seed: int, reviews: bool) -> None:
        self._client = httpx.Client(base_url=url, headers={"authorization": f"Bearer {token}"}, timeout=30)
        self._seen, self._away, self._reviews = seen, away_seconds, reviews
        self._random = random.Random(seed)

    def run(self, over: Callable[[], bool]) -> None:
        try:
            while not over():
                if not ((self._reviews and self._review()) or self._annotate()):
                    time.sleep(0.2)
        except Exception as error:
            self._seen.problems.append(f"{type(error).__name__}: {error}")

    def _annotate(self) -> bool:
        if self._seen.finished >= self._seen.allowed:
            return False
        task = self._claim("annotate")
        if task is None:
            return False
        try:
            for number in range(MASKS_PER_IMAGE):
                self._save(task, number)
                if number == 1 and self._random.random() < AWAY:
                    time.sleep(self._away)
            self._write("POST", task, "finish", {"exhaustive": True})
            self._seen.finished += 1
        except Gone:
            self._seen.lost += 1
        return True

    def _review(self) -> bool:
        if len(self._seen.accepted) >= self._seen.allowed:
            return False
        task = self._claim("review")
        if task is None:
            return False
        rejects = self._random.random() < REJECTED
        verdict = {"verdict": "reject", "reason": "other"} if rejects else {"verdict": "accept"}
        try:
            self._write("POST", task, "review", verdict)
        except Gone:
            return True
        if not rejects:
            self._seen.accepted.append(task["id"])
        return True

    def _claim(self, kind: str) -> dict[str, Any] | None:
        started = time.monotonic()
        task = self._send("POST", "/api/tasks/claim", {"kind": kind, "mutation": str(uuid.uuid4())}).json()["task"]
        if task is not None:
            self._seen.claim_seconds.append(time.monotonic() - started)
            self._seen.claims.append((task["id"], task["fence"], task["lease"]))
        return task

    def _save(self, task: dict[str, Any], number: int) -> None:
        mask_id, started = str(uuid.uuid4()), time.monotonic()
        mask = {"rle": self._mask(), "source": "assisted", "prominence": number, "active_ms": 3000}
        try:
            answer = self._write("PUT", task, f"masks/{mask_id}", {"base_revision": 0, "mask": mask})
        except Gone as gone:
            if gone.args[0].get("orphan"):
                self._seen.orphans.add(mask_id)
            raise
        self._seen.save_seconds.append(time.monotonic() - started)
        self._seen.saved[mask_id] = (task["id"], answer["revision"])

    def _write(self, method: str, task: dict[str, Any], what: str, body: dict[str, Any]) -> dict[str, Any]:
        held = {"lease": task["lease"], "fence": task["fence"], "mutation": str(uuid.uuid4())}
        answer = self._send(method, f"/api/tasks/{task['id']}/{what}", {**held, **body})
        content: dict[str, Any] = answer.json()
        if answer.status_code == 409:
            error = content["error"]
            if error["code"] != "lease_lost":
                self._seen.problems.append(f"{method} {what}: {error}")
            raise Gone(error)
        if answer.status_code != 200:
            raise RuntimeError(f"{method} {what}: {answer.status_code} {answer.text[:200]}")
        return content

    def _send(self, method: str, url: str, body: dict[str, Any]) -> httpx.Response:
        """The same request until somebody answers it: what the page's outbox does."""
        while True:
            try:
                answer = self._client.request(method, url, json=body)
                if answer.status_code != 503:
                    return answer
            except httpx.TransportError:
                pass
            self._seen.retries += 1
            time.sleep(0.1)

    def _mask(self) -> dict[str, Any]:
        pixels = np.zeros((HEIGHT, WIDTH), bool)
        x, y = self._random.randrange(WIDTH - 100), self._random.randrange(HEIGHT - 100)
        pixels[y : y + self._random.randrange(5, 100), x : x + self._random.randrange(5, 100)] = True
        return encode(pixels)[0].model_dump()


def start(people: list[Person], over: Callable[[], bool]) -> list[threading.Thread]:
    threads = [threading.Thread(target=person.run, args=(over,), daemon=True) for person in people]
    for thread in threads:
        thread.start()
    return threads
