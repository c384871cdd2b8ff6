"""Stage 2 in the store: who gets suggestions, what happens to them, and the probes among them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dataengine.annotations import SEMI_AUTOMATIC, ConflictError, Store, open_store
from dataengine.annotations.export import export_statistics
from schemas.annotations import Prefilled, ProbeRates, Prompts, Suggestion
from tests.dataengine.annotations.world import MODEL, Clock, World, catalog_rows, square

SOURCE = "detector@1/abc"


@pytest.fixture
def store(database_url: str, clock: Clock) -> Iterator[Store]:
    opened = open_store(database_url, SEMI_AUTOMATIC, clock=clock)
    yield opened
    opened.close()


def suggestion(x: int, y: int = 5, side: int = 10, score: float = 0.8, model: str = MODEL.id) -> Suggestion:
    return Suggestion(
        rle=square(x, y, side),
        score=score,
        predicted_iou=0.9,
        stability_score=0.95,
        prompts=Prompts(box=(x, y, x + side, y + side)),
        model=model,
        detector="detector@1",
        label="cup",
    )


def two(image_id: int, model: str = MODEL.id, **more: object) -> Prefilled:
    facts: dict[str, object] = {"suggestions": [suggestion(2, model=model), suggestion(30, score=0.7, model=model)]}
    return Prefilled.model_validate({"image_id": image_id, "model": model} | facts | more)


def test_a_task_waits_for_its_prefill_and_shows_it_locked(world: World) -> None:
    store = world.store
    empty = world.try_claim(world.anna).empty
    assert empty is not None and empty.code == "no_embedding" and store.queue.counts()["pending"] == 6
    assert store.prefills.wanted(SOURCE, ahead=2) == [1, 2]
    assert store.images.wanted_embeddings(ahead=6) == []  # those that wait for their prefill count
    assert store.prefills.put(two(1), SOURCE) == 1
    assert store.queue.counts()["ready"] == 1 and store.prefills.wanted(SOURCE, ahead=2) == [2]
    hand = world.claim(world.anna)
    first, second = store.queue.task(hand.task_id).masks
    assert (first.source, first.locked, first.score, first.model) == ("prefill", True, 0.8, MODEL.id)
    assert first.prompts is not None and first.prompts.box == (2, 5, 12, 15)
    with pytest.raises(ConflictError, match="locked prefill"):
        world.save(hand, first.id, base=1)
    store.work.delete_mask(world.anna, hand.task_id, second.id, hand.held(), 1, "not an object")
    world.save(hand, x=45, prominence=2)
    world.finish(hand)
    masks = store.queue.task(hand.task_id).masks
    assert [mask.source for mask in masks] == ["prefill", "assisted"]
    assert store.statistics.of(world.anna)["total"]["masks"] == 1  # suggestions are nobody's work
    assert not store.verify().problems


def test_a_promotion_prefills_only_untouched_tasks_anew(world: World) -> None:
    store = world.store
    for number in (1, 2, 3):
        store.prefills.put(two(number), SOURCE)
    released, held = world.claim(world.anna), world.claim(world.ben)
    mine = world.save(released, x=45)
    store.queue.release(world.anna, released.task_id, released.held())
    old = store.queue.task(3).masks
    newer = MODEL.model_copy(update={"id": "nano-2"})
    store.images.promote(newer)
    # Same encoder, another decoder: the image is embedded, but the suggestions are the old model's.
    assert store.queue.task(3).state == "pending" and store.queue.task(released.task_id).state == "ready"
    assert store.prefills.wanted(SOURCE, ahead=9) == [3, 4, 5, 6]
    assert store.prefills.put(two(3), SOURCE) == 0  # made by the model before
    for number in (1, 2, 3):
        store.prefills.put(two(number, newer.id), SOURCE)
    anew = store.queue.task(3)
    assert anew.state == "ready" and {mask.model for mask in anew.masks} == {newer.id}
    assert len(anew.masks) == 2 and not {mask.id for mask in anew.masks} & {mask.id for mask in old}
    untouched = store.queue.task(released.task_id).masks
    assert {mask.model for mask in untouched} == {MODEL.id} and mine in {mask.id for mask in untouched}
    assert {mask.model for mask in store.queue.task(held.task_id).masks} == {MODEL.id}
    # Other settings of the detector: again, but nobody has to wait for it.
    assert store.prefills.wanted("detector@2/abc", ahead=9)[0] == 3 and store.queue.task(3).state == "ready"
    assert not store.verify().problems


def test_a_rejected_pass_is_not_prefilled(world: World) -> None:
    store = world.store
    store.prefills.put(two(1), SOURCE)
    hand = world.claim(world.anna)
    world.finish(hand)
    review = world.claim(world.rita, "review")
    kept, bad = store.queue.task(hand.task_id).masks
    answer = world.review(review, "reject", "missing objects", **{kept.id: "accept", bad.id: "reject"})
    again = store.queue.task(int(str(answer["next"])))
    assert again.state == "ready" and [mask.source for mask in again.masks] == ["prefill"]
    assert 1 not in store.prefills.wanted(SOURCE, ahead=99)


def test_stage_one_is_left_alone(world: World, database_url: str, clock: Clock) -> None:
    stage_one = open_store(database_url, clock=clock)
    stage_one.images.fill(catalog_rows(2), short_side=1500)
    assert stage_one.queue.counts()["ready"] == 2
    world.store.prefills.put(two(1), SOURCE)
    hand = stage_one.queue.claim(world.anna, "annotate", "00000000-0000-4000-8000-000000000001")
    assert hand.task_id is not None and stage_one.queue.task(hand.task_id).masks == []
    stage_one.images.promote(MODEL.model_copy(update={"id": "nano-2"}))
    assert stage_one.queue.counts()["ready"] == 1
    stage_one.close()


def test_what_people_have_in_one_stage_the_other_does_not_get(world: World, database_url: str, clock: Clock) -> None:
    stage_one, stage_two = open_store(database_url, clock=clock), world.store
    stage_two.prefills.put(two(1), SOURCE)
    world.claim(world.anna)
    stage_one.images.fill(catalog_rows(1, first=9), short_side=1500)
    stage_one.images.embedding_ready(9, MODEL.encoder)
    assert stage_one.queue.claim(world.ben, "annotate", "00000000-0000-4000-8000-000000000001").task_id is not None
    assert stage_one.images.fill(catalog_rows(9), short_side=1500)["tasks"] == 7  # 2 to 8: those are idle
    assert stage_two.images.fill(catalog_rows(9), short_side=1500)["tasks"] == 2  # 7 and 8
    stage_one.close()


def test_probes_measure_recall_and_automation_bias_and_leave_no_trace(world: World, tmp_path: Path) -> None:
    store = world.store
    bad = suggestion(20, y=25, side=9, score=0.75)
    rates = ProbeRates(withheld=1.0, planted=1.0)
    for number in (1, 2):
        store.prefills.put(two(number, planted=bad), SOURCE, rates)
    # Anna finds what is missing and deletes what is wrong; Ben takes what he is given.
    anna, ben = world.claim(world.anna), world.claim(world.ben)
    for hand in (anna, ben):
        shown = store.queue.task(hand.task_id).masks
        assert len(shown) == 2 and all(mask.locked and mask.source == "prefill" for mask in shown)
        if hand is anna:
            wrong = next(mask for mask in shown if mask.rle == bad.rle)
            missing = next(x for x in (2, 30) if all(mask.rle != square(x, 5, 10) for mask in shown))
            store.work.delete_mask(world.anna, hand.task_id, wrong.id, hand.held(), 1, "not an object")
            world.save(hand, x=missing)
        world.finish(hand)
    for hand in (anna, ben):
        left = [mask.rle for mask in store.queue.task(hand.task_id).masks]
        assert sorted(rle.counts for rle in left) == sorted(square(x, 5, 10).counts for x in (2, 30))
    people = {row["name"]: row for row in store.statistics.overview()["annotators"]}
    assert (people["anna"]["recall"], people["anna"]["automation_bias"]) == (1.0, 0.0)
    assert (people["ben"]["recall"], people["ben"]["automation_bias"]) == (0.0, 1.0)
    assert store.statistics.overview()["overall"]["recall"] == 0.5
    assert export_statistics(store, tmp_path / "figures")["annotators"] == 2
    assert not store.verify().problems


def test_probes_come_at_the_rate_that_is_asked_for(world: World) -> None:
    store = world.store
    for number in range(1, 7):
        store.prefills.put(two(number, planted=suggestion(20, y=25)), SOURCE, ProbeRates())
        assert len(store.queue.task(number).masks) == 2
    store.prefills.put(Prefilled(image_id=6, model=MODEL.id, failed="no detector"), SOURCE)
    assert store.queue.task(6).masks == [] and store.queue.task(6).state == "ready"
