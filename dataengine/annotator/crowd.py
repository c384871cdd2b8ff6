"""Several simulated people at once, each in a thread of his own, until the queue has nothing left for them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from dataengine.annotator.simulated import SimulatedAnnotator, SimulatedReviewer

IDLE_SECONDS = 0.2
EMBEDDING_SECONDS = 300.0
"""While tasks wait for their embedding, people wait longer: a model may have to be loaded first."""
IN_HAND = ("leased", "submitted", "in_review")
"""Begun, and not decided: a stage doesn't end with such a task."""
OPEN_STATES = ("pending", "ready", *IN_HAND)
Person = SimulatedAnnotator | SimulatedReviewer


class Crowd:
    """Runs people until every task is accepted, skipped or rejected for good.

    Args:
        stuck_after: seconds without anybody holding a task, or any task changing its state, after which they go home:
            what is left is for somebody else (an annotator doesn't get an image twice).
        may_begin: asked before an annotator asks for a task, other than his first, which he may have had in hand
            already; he waits as long as it says no.
    """

    def __init__(
        self, people: Sequence[Person], stuck_after: float = 15.0, may_begin: Callable[[], bool] = lambda: True
    ) -> None:
        self.people, self._may_begin = people, may_begin
        self._stuck_after = stuck_after
        self._over = threading.Event()
        self._closing = threading.Event()
        self._annotating = sum(isinstance(person, SimulatedAnnotator) for person in people)
        self._lock = threading.Lock()
        self._moved_at = time.monotonic()
        self._counts: dict[str, int] = {}
        self.left = 0
        """Open tasks when they went home."""

    def run(self, on_progress: Callable[[], None] = lambda: None) -> None:
        """Raises the first person's error, after the others have gone home."""
        self._moved_at = time.monotonic()
        with ThreadPoolExecutor(len(self.people), thread_name_prefix="person") as threads:
            futures = [threads.submit(self._live, person) for person in self.people]
            while not self._over.wait(0.5) and not all(future.done() for future in futures):
                on_progress()
        for future in futures:
            future.result()
        on_progress()

    def stop(self) -> None:
        """Sends annotators home after the task in hand, and reviewers when nothing is left for them."""
        self._closing.set()

    def _live(self, person: Person) -> None:
        annotates = isinstance(person, SimulatedAnnotator)
        waits = False
        try:
            person.start()
            while not self._over.is_set() and not (annotates and self._closing.is_set()):
                if waits and not self._may_begin():
                    self._over.wait(IDLE_SECONDS)
                    continue
                waits = annotates
                # Looked at before he asks: what an annotator submits afterwards, he might not see.
                nothing_more_comes = self._closing.is_set() and not self._annotating
                empty = person.one_task()
                if empty is None or any(other.holding for other in self.people):
                    self._moved_at = time.monotonic()
                if empty is None:
                    continue
                if nothing_more_comes:
                    break
                counts = empty["counts"]
                # Also when somebody has just got the task for which all were waiting, and doesn't hold it yet.
                if counts != self._counts:
                    self._counts, self._moved_at = counts, time.monotonic()
                self.left = sum(counts[state] for state in OPEN_STATES)
                patience = EMBEDDING_SECONDS if counts["pending"] else self._stuck_after
                if not self.left or time.monotonic() - self._moved_at > patience:
                    self._over.set()
                self._over.wait(IDLE_SECONDS)
        except BaseException:
            # One person's error ends the day for all: nothing would be reviewed, or annotated, any more.
            self._over.set()
            raise
        finally:
            with self._lock:
                self._annotating -= annotates
