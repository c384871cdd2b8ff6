"""The pool on a real Ray: real deaths (SIGSEGV, SIGKILL), real exceptions."""

from __future__ import annotations

import os
import signal
import time

import pytest
import ray

from dataengine.errors import EngineError
from dataengine.runtime.pool import ActorPool

pytestmark = pytest.mark.usefixtures("ray_cluster")


@ray.remote(num_cpus=0, max_restarts=0)
class Worker:
    """Doubles numbers; some of them are poison."""

    def ready(self) -> str:
        return str(ray.get_runtime_context().get_node_id())

    def double(self, number: int, poison: tuple[int, ...] = ()) -> int:
        if number in poison:
            time.sleep(0.3)  # the answer before this call is on its way, and shall not die with it
            os.kill(os.getpid(), signal.SIGSEGV)
            time.sleep(30)
        if number < 0:
            raise ValueError(f"{number} is negative")
        return 2 * number

    def die_once(self, number: int, marker: str) -> int:
        if number == 3:
            try:
                os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                return 2 * number
            os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(30)
        return 2 * number


@ray.remote(num_cpus=0, max_restarts=0)
class Broken:
    def __init__(self) -> None:
        raise EngineError("no weights here")

    def ready(self) -> str:
        return ""


def make_pool(size: int = 2, **options: int) -> ActorPool[int]:
    return ActorPool(lambda: Worker.remote(), size, **options)  # type: ignore[arg-type]


def test_every_item_is_answered_once() -> None:
    pool = make_pool()
    outcomes = list(pool.run(range(20), lambda actor, item, deaths: actor.double.remote(item)))
    pool.close()
    assert sorted(o.item for o in outcomes) == list(range(20))
    assert all(o.value == 2 * o.item and o.error is None for o in outcomes)
    assert pool.replaced == 0


def test_poison_is_quarantined_by_name_and_its_neighbours_live() -> None:
    pool = make_pool(size=2, depth=3)
    outcomes = {o.item: o for o in pool.run(range(12), lambda actor, item, deaths: actor.double.remote(item, (4, 7)))}
    pool.close()
    assert sorted(outcomes) == list(range(12))
    for number, outcome in outcomes.items():
        assert outcome.died == (number in (4, 7)), outcome
        assert (outcome.error is None) == (number not in (4, 7)), outcome
    assert "died 3 times" in str(outcomes[4].error)
    # Three deaths each; an answer that was on its way when the process died can cost one more.
    assert 6 <= pool.replaced <= 8


def test_one_kill_costs_nothing(tmp_path) -> None:
    pool = make_pool(size=1, depth=2)
    marker = str(tmp_path / "died")
    outcomes = list(pool.run(range(6), lambda actor, item, deaths: actor.die_once.remote(item, marker)))
    pool.close()
    assert sorted(o.value for o in outcomes) == [0, 2, 4, 6, 8, 10]
    assert pool.replaced == 1


def test_an_exception_is_a_reason_not_a_death() -> None:
    pool = make_pool(size=1)
    outcomes = {o.item: o for o in pool.run([1, -5, 2], lambda actor, item, deaths: actor.double.remote(item))}
    pool.close()
    assert outcomes[-5].error == "ValueError: -5 is negative"
    assert not outcomes[-5].died
    assert outcomes[1].value == 2 and outcomes[2].value == 4
    assert pool.replaced == 0


def test_items_are_pulled_no_faster_than_they_are_worked() -> None:
    pulled, answered = 0, 0

    def items():
        nonlocal pulled
        for number in range(30):
            pulled += 1
            assert pulled - answered <= 2 * 2 + 1, "the pool ran ahead of its actors"
            yield number

    pool = make_pool(size=2, depth=2)
    for _ in pool.run(items(), lambda actor, item, deaths: actor.double.remote(item)):
        answered += 1
    pool.close()
    assert answered == 30


def test_actors_that_cannot_start_end_the_run_with_their_reason() -> None:
    pool: ActorPool[int] = ActorPool(lambda: Broken.remote(), 1, needs="a worker")
    with pytest.raises(EngineError, match=r"a worker can't start.*no weights here"):
        list(pool.run([1], lambda actor, item, deaths: actor.ready.remote()))
    pool.close()
