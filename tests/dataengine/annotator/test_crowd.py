"""When simulated people go home: not while the last task is on its way from one state to the next."""

from __future__ import annotations

import time
from typing import Any

from dataengine.annotator.crowd import OPEN_STATES, Crowd
from dataengine.annotator.simulated import SimulatedAnnotator


class Onlooker:
    """Never gets a task, and sees the queue's only one go through its states."""

    holding = False

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.seen: list[str] = []

    def start(self) -> None:
        pass

    def one_task(self) -> dict[str, Any]:
        seconds = time.monotonic() - self.began
        state = "pending" if seconds < 0.9 else "leased" if seconds < 1.2 else "submitted" if seconds < 1.5 else "done"
        self.seen.append(state)
        return {"counts": {name: int(name == state) for name in OPEN_STATES}}


def test_a_task_that_moves_on_is_waited_for() -> None:
    onlooker = Onlooker()
    crowd = Crowd([onlooker], stuck_after=0.6)  # type: ignore[list-item]
    crowd.run()
    assert (crowd.left, onlooker.seen[-1]) == (0, "done"), onlooker.seen


class Eager(SimulatedAnnotator):
    """Does a task in no time."""

    def __init__(self) -> None:
        self.taken = 0

    def start(self) -> None:
        pass

    def one_task(self) -> None:
        self.taken += 1


def test_annotators_wait_where_enough_is_begun() -> None:
    eager = Eager()
    crowd = Crowd([eager], may_begin=lambda: eager.taken < 3)
    crowd.run(lambda: crowd.stop() if eager.taken >= 3 else None)
    assert eager.taken == 3
