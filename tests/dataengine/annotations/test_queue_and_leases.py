"""Claims, leases, fencing numbers, expiry, and why the queue is empty."""

from __future__ import annotations

import pytest

from dataengine.annotations import ConflictError, Store
from dataengine.annotations.images import chosen_for_overlap
from tests.dataengine.annotations.world import MODEL, Clock, World, catalog_rows, draft, new_id

LEASE_SECONDS = 600


def test_a_whole_life(world: World) -> None:
    hand = world.claim(world.anna)
    mask_id = world.save(hand)
    assert [mask.id for mask in world.store.queue.task(hand.task_id).masks] == [mask_id]
    world.finish(hand)
    review = world.claim(world.rita, "review")
    assert review.task_id == hand.task_id and review.fence == hand.fence + 1
    assert world.review(review, "accept")["state"] == "accepted"
    _, accepted = world.store.snapshots.accepted()
    found = list(accepted)
    assert [(image.image.id, len(image.masks), image.reviewer) for image in found] == [(1, 1, "rita")]
    assert found[0].annotators == {world.anna.id: "anna"}
    assert world.store.verify().problems == []


def test_filling_twice_changes_nothing(world: World) -> None:
    hand = world.claim(world.anna)
    assert world.store.images.fill(catalog_rows(8), short_side=1500) == {"images": 2, "tasks": 2}
    assert world.store.images.fill(catalog_rows(8), short_side=1500) == {"images": 0, "tasks": 0}
    assert world.store.queue.task(hand.task_id).state == "leased"
    counts = world.store.queue.counts()
    assert (counts["leased"], counts["ready"], counts["pending"]) == (1, 5, 2)


def test_frames_and_redactions_are_scaled(store: Store) -> None:
    store.images.fill(catalog_rows(1), short_side=20)
    image = store.images.image(1)
    assert (image.width, image.height, image.original_width) == (30, 20, 60)
    assert image.redactions[0].box == (5.0, 2.5, 10.0, 7.5)


def test_only_ready_tasks_are_handed_out_and_the_reason_is_said(store: Store, world: World) -> None:
    store.images.fill(catalog_rows(2, first=100), short_side=1500)
    for _ in range(3):
        world.finish(world.claim(world.anna))
        world.finish(world.claim(world.ben))
    empty = world.try_claim(world.anna).empty
    assert empty is not None and empty.code == "no_embedding" and empty.counts["pending"] == 2
    assert store.images.wanted_embeddings(ahead=1) == [100]
    store.images.embedding_ready(100, MODEL.encoder)
    assert store.images.wanted_embeddings(ahead=1) == []
    assert store.images.wanted_embeddings(ahead=2) == [101]
    hand = world.claim(world.anna)
    assert store.queue.task(hand.task_id).image.id == 100
    store.images.embedding_failed(101, MODEL.encoder, "source changed")
    world.finish(hand)
    empty = world.try_claim(world.anna).empty
    assert empty is not None and empty.code == "done" and empty.counts["skipped"] == 1


def test_every_reason_for_an_empty_queue(store: Store, world: World) -> None:
    hands = [world.claim(world.anna) for _ in range(3)]
    empty = world.try_claim(world.anna).empty
    assert empty is not None and empty.code == "cap_reached"
    for _ in range(3):
        world.claim(world.ben)
    empty = world.try_claim(world.rita).empty
    assert empty is not None and empty.code == "leased"
    empty = world.try_claim(world.rita, "review").empty
    assert empty is not None and empty.code == "done"
    for hand in hands:
        world.finish(hand)
    again = world.claim(world.rita, "review")
    world.review(again, "reject", "missing objects")
    world.clock.pass_seconds(1)
    # Only the rework of Anna's own image is free.
    empty = world.try_claim(world.anna).empty
    assert empty is not None and empty.code == "yours_only"


def test_an_empty_store_says_so(store: Store) -> None:
    empty = store.queue.claim(store.people.add("anna", "annotator"), "annotate", new_id()).empty
    assert empty is not None and empty.code == "none"


def test_an_expired_lease_goes_to_somebody_else_and_the_late_work_is_kept(world: World) -> None:
    hand = world.claim(world.anna)
    mask_id = world.save(hand)
    world.clock.pass_seconds(LEASE_SECONDS + 1)
    other = world.claim(world.ben)
    assert other.task_id == hand.task_id and other.fence == hand.fence + 1
    held = hand.held()
    for _ in range(2):
        with pytest.raises(ConflictError) as refused:
            world.store.work.save_mask(world.anna, hand.task_id, mask_id, held, 1, draft(side=12))
        assert refused.value.code == "lease_lost" and refused.value.details["orphan"] is True
    orphans = world.store.work.orphans(hand.task_id)
    assert [(orphan["user_id"], orphan["mask_id"]) for orphan in orphans] == [(world.anna.id, mask_id)]
    assert orphans[0]["content"]["rle"]["counts"] == draft(side=12).rle.counts
    # Ben goes on with what Anna had saved in time.
    assert [mask.id for mask in world.store.queue.task(other.task_id).masks] == [mask_id]
    for call in (
        lambda: world.store.work.finish(world.anna, hand.task_id, hand.held(), True),
        lambda: world.store.queue.heartbeat(world.anna, hand.task_id, hand.lease, hand.fence),
        lambda: world.store.work.delete_mask(world.anna, hand.task_id, mask_id, hand.held(), 1),
    ):
        with pytest.raises(ConflictError, match="expired"):
            call()
    assert world.store.verify().problems == []


def test_an_expired_lease_serves_its_holder_until_somebody_claims(world: World) -> None:
    hand = world.claim(world.anna)
    world.clock.pass_seconds(LEASE_SECONDS + 1)
    world.save(hand)
    assert world.try_claim(world.ben).task_id != hand.task_id, "the save has prolonged the lease"


def test_heartbeats_keep_a_lease(world: World) -> None:
    hand = world.claim(world.anna)
    for _ in range(20):
        world.clock.pass_seconds(60)
        ends = world.store.queue.heartbeat(world.anna, hand.task_id, hand.lease, hand.fence)
    assert ends == world.clock.now + LEASE_SECONDS * 1000
    assert world.claim(world.ben).task_id != hand.task_id


def test_a_forged_lease_is_refused_and_nothing_of_it_is_kept(world: World) -> None:
    hand = world.claim(world.anna)
    forged = [
        (world.ben, hand.held()),
        (world.anna, hand.held().model_copy(update={"lease": new_id()})),
        (world.anna, hand.held().model_copy(update={"fence": hand.fence + 1})),
    ]
    for who, held in forged:
        with pytest.raises(ConflictError) as refused:
            world.store.work.save_mask(who, hand.task_id, new_id(), held, 0, draft())
        assert refused.value.code == "lease_unknown"
    assert world.store.work.orphans() == [] and world.store.queue.task(hand.task_id).masks == []


def test_release_and_steal(world: World) -> None:
    hand = world.claim(world.anna)
    world.save(hand)
    held = hand.held()
    assert world.store.queue.release(world.anna, hand.task_id, held) == {"state": "ready"}
    assert world.store.queue.release(world.anna, hand.task_id, held) == {"state": "ready"}
    again = world.claim(world.ben)
    assert again.task_id == hand.task_id and len(world.store.queue.task(hand.task_id).masks) == 1
    theft = new_id()
    assert world.store.queue.steal(world.adam, hand.task_id, theft) == {"state": "ready"}
    assert world.store.queue.steal(world.adam, hand.task_id, theft) == {"state": "ready"}
    with pytest.raises(ConflictError):
        world.store.queue.steal(world.adam, hand.task_id, new_id())
    with pytest.raises(ConflictError, match="stolen"):
        world.save(again)


def test_a_rejected_image_goes_to_another_annotator_with_the_good_masks(world: World) -> None:
    hand = world.claim(world.anna)
    good, bad = world.save(hand, x=2), world.save(hand, x=20, prominence=1)
    world.finish(hand)
    review = world.claim(world.rita, "review")
    answer = world.review(review, "reject", "wrong boundary", **{bad: "reject"})
    assert world.claim(world.anna).task_id != answer["next"]
    rework = world.claim(world.ben)
    assert rework.task_id == answer["next"], "reworks come first"
    task = world.store.queue.task(rework.task_id)
    assert (task.pass_, task.purpose, len(task.masks)) == (2, "rework", 1)
    assert task.masks[0].rle == world.store.queue.task(hand.task_id).masks[0].rle and task.masks[0].id != good
    assert task.review is not None and task.review["reason"] == "wrong boundary"
    # The reviewer of the first pass may judge the second, its annotators may not.
    world.finish(rework)
    assert world.claim(world.rita, "review").task_id == rework.task_id


def test_nobody_reviews_an_image_he_has_drawn_on(world: World) -> None:
    hand = world.claim(world.rita)
    world.save(hand)
    world.clock.pass_seconds(LEASE_SECONDS + 1)
    other = world.claim(world.anna)
    assert other.task_id == hand.task_id
    world.finish(other)
    empty = world.try_claim(world.rita, "review").empty
    assert empty is not None and empty.code == "yours_only"
    assert world.claim(world.adam, "review").task_id == other.task_id


def test_overlap_passes_are_blind_and_measured(store: Store, world: World) -> None:
    store.images.fill(catalog_rows(6), short_side=1500, overlap=1.0)
    assert store.queue.counts()["ready"] == 12
    first = world.claim(world.anna)
    world.save(first, x=2, side=10)
    world.save(first, x=30, side=10)
    world.finish(first)
    seen = {store.queue.task(world.claim(world.anna).task_id).image.id for _ in range(3)}
    assert store.queue.task(first.task_id).image.id not in seen
    second = None
    for _ in range(7):
        hand = world.claim(world.ben)
        task = store.queue.task(hand.task_id)
        if task.image.id == store.queue.task(first.task_id).image.id:
            second = hand
            assert task.purpose == "overlap" and task.masks == [], "blind"
            break
        world.finish(hand)
    assert second is not None
    world.save(second, x=2, side=10)
    world.finish(second)
    from dataengine.annotations.tables import agreement

    with store.database.read() as connection:
        rows = connection.execute(agreement.select().where(agreement.c.matched > 0)).all()
    assert [(row.matched, row.unmatched, row.mean_iou) for row in rows] == [(1, 1, 1.0)]
    assert rows[0].panoptic_quality == pytest.approx(1 / 1.5)


def test_the_share_of_overlap_is_a_fixed_choice() -> None:
    small = {number for number in range(10_000) if chosen_for_overlap(number, 0.05)}
    large = {number for number in range(10_000) if chosen_for_overlap(number, 0.1)}
    assert small < large and 400 < len(small) < 600 and 850 < len(large) < 1150
    assert not any(chosen_for_overlap(number, 0.0) for number in range(1000))


def test_promoting_a_model_sends_idle_tasks_back_to_wait(store: Store, world: World, clock: Clock) -> None:
    hand = world.claim(world.anna)
    store.images.promote(MODEL.model_copy(update={"id": "nano-2", "encoder": "enc-2"}))
    counts = store.queue.counts()
    assert (counts["pending"], counts["ready"], counts["leased"]) == (5, 0, 1)
    assert store.queue.task(hand.task_id).encoder == "enc-1", "the holder finishes on the old model"
    world.save(hand)
    store.images.embedding_ready(3, "enc-2")
    assert store.queue.task(world.claim(world.ben).task_id).encoder == "enc-2"
    store.images.promote(MODEL)
    assert store.queue.counts()["ready"] == 4, "rolled back: the old embeddings are still there"
    assert store.images.model() == MODEL


def test_a_lease_keeps_its_model_where_only_the_decoder_is_new(store: Store, world: World, clock: Clock) -> None:
    hand = world.claim(world.anna)
    assert store.queue.task(hand.task_id).model == MODEL
    clock.pass_seconds(1)
    newer = MODEL.model_copy(update={"id": "nano-2"})
    store.images.promote(newer)
    clock.pass_seconds(1)
    assert store.queue.task(hand.task_id).model == MODEL
    later = world.claim(world.ben)
    assert store.queue.task(later.task_id).model == newer
    clock.pass_seconds(1)
    store.images.promote(MODEL)
    assert [store.queue.task(one.task_id).model for one in (hand, later)] == [MODEL, newer], "rolled back"
    untouched = next(row["id"] for row in store.queue.listing("ready", 9))
    assert store.queue.task(untouched).model is None


def test_embeddings_are_forgotten_once_no_model_in_use_and_nobodys_task_needs_them(store: Store, world: World) -> None:
    hand = world.claim(world.anna)
    for number in (2, 3):
        store.images.promote(MODEL.model_copy(update={"id": f"nano-{number}", "encoder": f"enc-{number}"}))
        store.images.embedding_ready(1, f"enc-{number}")
    assert store.images.forget_encoders() == [], "anna holds a task of the first, and one may step back to the second"
    world.finish(hand)
    assert store.images.forget_encoders() == [], "its reviewer needs it"
    world.review(world.claim(world.rita, "review"), "accept")
    assert store.images.forget_encoders() == ["enc-1"] == store.images.forget_encoders()
    known = [store.images.has_embedding(1, f"enc-{number}") for number in (1, 2, 3)]
    assert known == [False, True, True]
    store.images.promote(MODEL)
    assert store.images.wanted_embeddings(1) and store.queue.counts()["ready"] == 0
