"""Saving masks, replays, the event chain, the schema, and backups."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from dataengine.annotations import ConflictError, ForbiddenError, InvalidError, Store, open_store
from dataengine.annotations import backup as backups
from dataengine.annotations.agreement import agreement_of
from dataengine.annotations.backup import backup, find_tool, restore
from dataengine.annotations.tables import metadata
from dataengine.errors import ConfigError, EngineError
from dataengine.masks import decode, encode
from schemas.annotations import Redaction
from tests.dataengine.annotations.world import HEIGHT, WIDTH, World, draft, new_id, square


def test_holes_and_islands_survive_bit_for_bit(world: World) -> None:
    pixels = np.zeros((HEIGHT, WIDTH), bool)
    pixels[2:30, 3:40] = True
    pixels[10:15, 10:20] = False
    pixels[35:38, 50:58] = True
    pixels[0, 0] = pixels[HEIGHT - 1, WIDTH - 1] = True
    rle = encode(pixels)[0]
    hand = world.claim(world.anna)
    world.save(hand, rle=rle)
    mask = world.store.queue.task(hand.task_id).masks[0]
    assert mask.rle == rle and np.array_equal(decode(mask.rle), pixels)
    assert mask.area == pixels.sum() and mask.bbox == [0, 0, WIDTH - 1, HEIGHT - 1]


def test_revisions_deletion_and_undo(world: World) -> None:
    hand = world.claim(world.anna)
    mask_id = world.save(hand)
    world.save(hand, mask_id, base=1, side=12)
    deleted = world.store.work.delete_mask(world.anna, hand.task_id, mask_id, hand.held(), 2, "wrong object")
    assert deleted == {"revision": 3} and world.store.queue.task(hand.task_id).masks == []
    world.save(hand, mask_id, base=3, side=12)
    assert world.store.queue.task(hand.task_id).masks[0].revision == 4
    with pytest.raises(ConflictError) as refused:
        world.store.work.delete_mask(world.anna, hand.task_id, new_id(), hand.held(), 0)
    assert refused.value.code == "no_mask"
    assert world.store.verify().revisions == 4


def test_replays_get_the_first_answer_even_when_all_is_over(world: World) -> None:
    hand = world.claim(world.anna)
    held, mask_id = hand.held(), new_id()
    assert world.store.work.save_mask(world.anna, hand.task_id, mask_id, held, 0, draft()) == {"revision": 1}
    world.save(hand, mask_id, base=1, side=4)
    done = hand.held()
    world.store.work.finish(world.anna, hand.task_id, done, True)
    world.clock.pass_seconds(10_000)
    assert world.store.work.save_mask(world.anna, hand.task_id, mask_id, held, 0, draft()) == {"revision": 1}
    assert world.store.work.finish(world.anna, hand.task_id, done, True) == {"state": "submitted"}
    with pytest.raises(InvalidError, match="another request"):
        world.store.work.finish(world.anna, hand.task_id, done, False)
    assert world.store.queue.task(hand.task_id).masks[0].area == 16, "the replay changed nothing"


def test_answers_are_forgotten_when_nobody_can_repeat_the_write(store: Store, world: World) -> None:
    done, open_ = world.claim(world.anna), world.claim(world.ben)
    early, late = done.held(), open_.held()
    mine, his = new_id(), new_id()
    store.work.save_mask(world.anna, done.task_id, mine, early, 0, draft())
    world.finish(done)
    store.work.save_mask(world.ben, open_.task_id, his, late, 0, draft())
    world.clock.pass_seconds(29 * 86400)
    store.queue.heartbeat(world.ben, open_.task_id, open_.lease, open_.fence)
    recent = world.claim(world.anna)
    world.finish(recent)
    assert store.work.forget_answers() == 0
    world.clock.pass_seconds(2 * 86400)
    assert store.work.forget_answers() == 3, "claim, save and finish of the first task"
    assert store.work.forget_answers() == 0
    assert store.work.save_mask(world.ben, open_.task_id, his, late, 0, draft()) == {"revision": 1}, "he still holds it"
    with pytest.raises(ConflictError) as refused:
        store.work.save_mask(world.anna, done.task_id, mine, early, 0, draft())
    assert refused.value.code == "lease_lost" and refused.value.details["orphan"]
    assert [mask.revision for mask in store.queue.task(done.task_id).masks] == [1]
    assert store.verify().problems == []


def test_a_mask_rejected_in_an_accepted_image_does_not_count(world: World) -> None:
    hand = world.claim(world.anna)
    good, bad = world.save(hand), world.save(hand, x=30)
    world.finish(hand)
    review = world.claim(world.rita, "review")
    world.review(review, "accept", **{bad: "reject", good: "accept"})
    _, images = world.store.snapshots.accepted()
    assert [[mask.id for mask in image.masks] for image in images] == [[good]]
    with pytest.raises(ConflictError):
        world.review(review, "accept")


def test_verdicts_need_their_facts(world: World) -> None:
    world.submitted(world.anna)
    review = world.claim(world.rita, "review")
    with pytest.raises(InvalidError, match="needs a reason"):
        world.review(review, "reject")
    with pytest.raises(InvalidError, match="not a live mask"):
        world.review(review, "accept", **{new_id(): "reject"})
    with pytest.raises(ForbiddenError):
        world.store.reviews.give(world.anna, review.task_id, review.held(), _accept())
    assert world.review(review, "accept") == {"state": "accepted"}


def _accept():
    from schemas.annotations import Review

    return Review(verdict="accept")


def test_a_skip_needs_a_reason_and_can_be_reopened(world: World) -> None:
    hand = world.claim(world.anna)
    with pytest.raises(InvalidError, match="needs a reason"):
        world.store.work.skip(world.anna, hand.task_id, hand.held(), "bored")
    world.store.work.skip(world.anna, hand.task_id, hand.held(), "other", "an advert")
    assert world.store.queue.listing("skipped", 10)[0]["reason"] == "other: an advert"
    assert world.store.queue.reopen(world.rita, hand.task_id) == {"state": "ready"}


def test_redactions_are_the_images_own(world: World) -> None:
    hand = world.claim(world.anna)
    boxes = [
        Redaction(id="face-0", kind="face", box=(10, 5, 20, 15), state="deleted"),
        Redaction(id=new_id(), kind="plate", box=(0, 0, WIDTH, HEIGHT)),
    ]
    assert world.store.work.redact(world.anna, hand.task_id, hand.held(), boxes) == {"redactions": 1}
    assert world.store.images.image(1).redactions == boxes
    with pytest.raises(InvalidError, match="not inside"):
        outside = [Redaction(id="a", kind="face", box=(0, 0, WIDTH + 1, 2))]
        world.store.work.redact(world.anna, hand.task_id, hand.held(), outside)


# the log -----------------------------------------------------------------------------------------------


def test_the_log_refuses_changes(store: Store, world: World) -> None:
    for statement in ("DELETE FROM event", "UPDATE event SET kind = 'x'"):
        with (
            pytest.raises(sa.exc.DatabaseError, match="append-only"),
            store.database.write() as tx,
        ):
            tx.execute(sa.text(statement))


@pytest.mark.parametrize(
    ("statement", "complaint"),
    [
        ("UPDATE mask SET counts = 'PR2'", "differs from its newest revision"),
        ("UPDATE mask SET state = 'deleted'", "differs from its newest revision"),
        ('UPDATE mask_revision SET content = \'{"counts": "PR2"}\'', "differs from what the log says"),
        ("DELETE FROM mask_revision", "in the log, but gone"),
        ("UPDATE event SET data = '{}' WHERE seq = 3", "event 3"),
        ("DELETE FROM event WHERE seq = 3", "event 3: missing"),
        ("UPDATE event SET user_id = 99 WHERE kind = 'save_mask'", "(save_mask): its hash doesn't fit"),
    ],
)
def test_tampering_is_found(store: Store, world: World, statement: str, complaint: str) -> None:
    world.save(world.claim(world.anna))
    assert store.verify().problems == []
    with store.database.write() as tx:
        # Somebody with the rights of an administrator.
        if tx.is_postgresql:
            tx.execute(sa.text("ALTER TABLE event DISABLE TRIGGER ALL"))
        else:
            tx.execute(sa.text("DROP TRIGGER event_no_UPDATE"))
            tx.execute(sa.text("DROP TRIGGER event_no_DELETE"))
        tx.execute(sa.text(statement))
    assert any(complaint in problem for problem in store.verify().problems), store.verify().problems


# the schema --------------------------------------------------------------------------------------------


def test_migrations_build_exactly_the_tables(store: Store) -> None:
    with store.database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []


def test_a_database_of_a_newer_version_is_refused(store: Store, database_url: str) -> None:
    with store.database.write() as tx:
        tx.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(EngineError, match="newer version"):
        open_store(database_url)


@pytest.mark.parametrize("url", ["mysql://x/y", "sqlite://", "not a url", "sqlite:////nowhere/at/all.db"])
def test_wrong_urls(url: str) -> None:
    with pytest.raises(ConfigError):
        open_store(url)


def test_a_server_that_is_not_there_is_said_in_one_line() -> None:
    with pytest.raises(EngineError, match="can't open the annotation database") as refused:
        open_store("postgresql://nobody:secret@127.0.0.1:1/nothing")
    assert "secret" not in str(refused.value) and "\n" not in str(refused.value)


# backups -----------------------------------------------------------------------------------------------


def test_backup_and_restore(store: Store, world: World, database_url: str, tmp_path: Path) -> None:
    hand = world.claim(world.anna)
    mask_id = world.save(hand)
    target = tmp_path / "backup"
    assert backup(database_url, target) == target.stat().st_size > 1000
    events = store.verify().events
    world.save(hand, x=30)
    with pytest.raises(EngineError, match="--replace"):
        restore(database_url, target)
    store.close()
    report = restore(database_url, target, replace=True)
    assert (report.events, report.revisions, report.problems) == (events, 1, [])
    again = open_store(database_url, clock=world.clock)
    assert [mask.id for mask in again.queue.task(hand.task_id).masks] == [mask_id]
    again.close()
    junk = tmp_path / "junk"
    junk.write_bytes(b"no backup of anything" * 1000)
    with pytest.raises(EngineError):
        restore(database_url, junk, replace=True)


def test_missing_tools_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(backups, "Path", _NoDebian)
    with pytest.raises(EngineError, match="pg_dump is not here; install PostgreSQL's client tools"):
        find_tool("pg_dump")


class _NoDebian:
    def __init__(self, *_: object) -> None:
        pass

    def glob(self, _: str) -> list[Path]:
        return []


# agreement ---------------------------------------------------------------------------------------------


def test_agreement_pairs_each_mask_once() -> None:
    same = agreement_of([square(0, 0, 10), square(20, 0, 10)], [square(20, 0, 10), square(0, 0, 10)])
    assert (same.matched, same.unmatched, same.panoptic_quality) == (2, 0, 1.0)
    # Two nested masks over half of each other may not both take the same partner.
    nested = agreement_of([square(0, 0, 10), square(0, 0, 9)], [square(0, 0, 10)])
    assert (nested.matched, nested.unmatched, nested.mean_iou) == (1, 1, 1.0)
    assert agreement_of([], []).panoptic_quality is None
    assert agreement_of([square(0, 0, 5)], []).panoptic_quality == 0.0
