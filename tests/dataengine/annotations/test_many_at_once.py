"""Many people, threads and processes at the same moment, on the machine's own clock."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from dataengine.annotations import ConflictError, Store, open_store
from schemas.annotations import User
from tests.dataengine.annotations.world import MODEL, Clock, Hand, World, catalog_rows, draft, new_id

TASKS = 60
PROCESSES = 2
PEOPLE_EACH = 3


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    opened = open_store(database_url)
    yield opened
    opened.close()


@pytest.fixture
def world(store: Store) -> World:
    return World.peopled(store, Clock(), images=6)


def at_once(actions: list[Callable[[], Any]]) -> list[Any]:
    """Runs them together; an exception is a result."""

    def run(action: Callable[[], Any]) -> Any:
        try:
            return action()
        except Exception as error:
            return error

    with ThreadPoolExecutor(len(actions)) as pool:
        return list(pool.map(run, actions))


def test_processes_never_get_the_same_task(store: Store, database_url: str) -> None:
    store.images.promote(MODEL)
    store.images.fill(catalog_rows(TASKS), short_side=1500)
    for number in range(1, TASKS + 1):
        store.images.embedding_ready(number, MODEL.encoder)
    names = [f"person {number}" for number in range(PROCESSES * PEOPLE_EACH)]
    for name in names:
        store.people.add(name, "annotator")
    hammers = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.dataengine.annotations.hammer", database_url, *names[first::PROCESSES]],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for first in range(PROCESSES)
    ]
    claimed = []
    for hammer in hammers:
        said, complaint = hammer.communicate(timeout=200)
        assert hammer.returncode == 0, complaint
        claimed += json.loads(said)
    assert Counter(task_id for task_id, _ in claimed) == dict.fromkeys(range(1, TASKS + 1), 1)
    assert {fence for _, fence in claimed} == {1}
    assert store.queue.counts()["submitted"] == TASKS
    assert store.verify().problems == []


def test_two_tabs_of_one_person_keep_to_the_cap(world: World) -> None:
    found = at_once([lambda: world.try_claim(world.anna)] * 8)
    tasks = [claim.task_id for claim in found if claim.task_id is not None]
    assert len(tasks) == len(set(tasks)) == 3
    assert {claim.empty.code for claim in found if claim.empty} == {"cap_reached"}


def test_one_person_never_gets_both_passes_of_an_image(world: World) -> None:
    world.store.images.fill(catalog_rows(6), short_side=1500, overlap=1.0)
    for user in (world.anna, world.ben):
        found = at_once([lambda user=user: world.try_claim(user)] * 6)
        images = [world.store.queue.task(claim.task_id).image.id for claim in found if claim.task_id is not None]
        assert len(images) == 3 and len(set(images)) == 3


def test_the_same_mutation_at_once_is_one(world: World) -> None:
    mutation = new_id()
    found = at_once([lambda: world.store.queue.claim(world.anna, "annotate", mutation)] * 6)
    assert len(set(map(repr, found))) == 1 and world.store.queue.counts()["leased"] == 1
    hand = Hand(world.anna, found[0].task_id, found[0].lease, found[0].fence)
    held, mask_id = hand.held(), new_id()
    saved = at_once(
        [lambda: world.store.work.save_mask(world.anna, hand.task_id, mask_id, held, 0, draft())] * 6,
    )
    assert saved == [{"revision": 1}] * 6
    assert world.store.verify().revisions == 1


def test_two_tabs_on_one_mask_keep_both_versions(world: World) -> None:
    hand = world.claim(world.anna)
    mask_id = world.save(hand)

    def save(side: int) -> Callable[[], Any]:
        return lambda: world.store.work.save_mask(world.anna, hand.task_id, mask_id, hand.held(), 1, draft(side=side))

    answers = at_once([save(side) for side in (3, 4, 6, 8)])
    refused = [answer for answer in answers if isinstance(answer, ConflictError)]
    assert answers.count({"revision": 2}) == 1 and len(refused) == 3
    assert {answer.code for answer in refused} == {"revision_conflict"}
    assert len(world.store.work.orphans(hand.task_id)) == 3
    assert world.store.verify().problems == []


def test_everything_at_once_keeps_the_chain(world: World) -> None:
    def life(user: User) -> Callable[[], None]:
        def run() -> None:
            hand = world.claim(user)
            for number in range(3):
                world.save(hand, x=2 + 12 * number)
            world.finish(hand)

        return run

    answers = at_once([life(user) for user in (world.anna, world.ben, world.rita, world.adam)])
    assert answers == [None] * 4
    report = world.store.verify()
    assert report.problems == [] and report.revisions == 12
