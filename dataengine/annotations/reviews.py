"""Verdicts: a second person accepts or rejects what was submitted. Nobody judges his own masks (see `Queue`)."""

from __future__ import annotations

import uuid
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Row

from dataengine.annotations.database import Database, Transaction
from dataengine.annotations.errors import InvalidError
from dataengine.annotations.leases import LeaseRules, end_lease, hold_as
from dataengine.annotations.models import idle_state
from dataengine.annotations.mutations import Answer, canonical_id, once
from dataengine.annotations.revisions import content_of, insert_mask, revise_mask
from dataengine.annotations.tables import mask, review, task
from schemas.annotations import REJECT_REASONS, Held, MaskVerdict, Review, User


class Reviews:
    """`give` is the whole of it: fixing masks during a review is `Work.save_mask` under the review's lease."""

    def __init__(self, database: Database, rules: LeaseRules) -> None:
        self._database, self._rules = database, rules

    def give(self, who: User, task_id: int, held: Held, verdict: Review) -> Answer:
        """accept -> {"state": "accepted"}: live masks count from now on, but for those rejected one by one.

        reject -> {"state": "rejected", "next": id}: the image's next pass goes to another annotator and starts
        with copies of the masks that weren't rejected. A rejection needs a reason of `REJECT_REASONS`.
        """
        if verdict.verdict == "reject" and verdict.reason not in REJECT_REASONS:
            raise InvalidError("reason", f"a rejection needs a reason: {', '.join(REJECT_REASONS)}")
        content = verdict.model_dump(mode="json")
        with self._database.write() as tx:

            def act() -> Answer:
                row = hold_as(tx, who, task_id, held, verdict.verdict, self._rules)
                self._judge_masks(tx, row, who, verdict)
                answer: Answer = {"state": "accepted" if verdict.verdict == "accept" else "rejected"}
                end_lease(tx, row, "reviewed", answer["state"], reason=verdict.reason)
                values = {"verdict": verdict.verdict, "reason": verdict.reason, "masks": content["masks"]}
                tx.execute(
                    review.insert().values(
                        task_id=task_id, reviewer_id=who.id, lease_id=row.lease_id, created_at=tx.now, **values
                    )
                )
                facts = {"lease": row.lease_id, "reason": verdict.reason}
                tx.record(verdict.verdict, user=who.id, task=task_id, image=row.image_id, **facts)
                if verdict.verdict == "reject":
                    answer["next"] = _next_pass(tx, row, who)
                return answer

            return once(tx, who.id, held.mutation, ["review", task_id, held.lease, held.fence, content], act)

    def _judge_masks(self, tx: Transaction, row: Row[Any], who: User, verdict: Review) -> None:
        rows = tx.execute(sa.select(mask).where(mask.c.task_id == row.id, mask.c.state == "live").with_for_update())
        live = {found.id: found for found in rows}
        for judged in verdict.masks:
            found = live.get(canonical_id(judged.id))
            if found is None:
                raise InvalidError("no_mask", f"mask {judged.id} is not a live mask of task {row.id}")
            self._judge(tx, row, found, who, judged, drop=verdict.verdict == "accept")

    def _judge(
        self, tx: Transaction, row: Row[Any], found: Row[Any], who: User, judged: MaskVerdict, *, drop: bool
    ) -> None:
        values = {"verdict": judged.verdict, "verdict_reason": judged.reason}
        tx.execute(sa.update(mask).where(mask.c.id == found.id).values(**values))
        if drop and judged.verdict == "reject":
            revise_mask(tx, row, found, content_of(found), "deleted", who.id, judged.reason or "rejected")


def _next_pass(tx: Transaction, row: Row[Any], who: User) -> int:
    highest = tx.execute(
        sa.select(sa.func.max(task.c["pass"])).where(task.c.image_id == row.image_id, task.c.stage == row.stage)
    ).scalar_one()
    # Before anything new: an image that somebody has looked at twice already should get done.
    values = {"purpose": "overlap" if row.purpose == "overlap" else "rework", "priority": row.priority - 1}
    created = tx.execute(
        task.insert()
        .values(
            {
                "image_id": row.image_id,
                "stage": row.stage,
                "pass": highest + 1,
                "parent_id": row.id,
                "state": idle_state(tx.connection, row.image_id),
                "fence": 0,
                "created_at": tx.now,
                "updated_at": tx.now,
                **values,
            }
        )
        .returning(*task.c)
    ).one()
    _copy_masks(tx, row, created, who)
    tx.record("next_pass", user=who.id, task=created.id, image=row.image_id, parent=row.id)
    return int(created.id)


def _copy_masks(tx: Transaction, old: Row[Any], new: Row[Any], who: User) -> None:
    kept = tx.execute(
        sa.select(mask).where(
            mask.c.task_id == old.id,
            mask.c.state == "live",
            sa.or_(mask.c.verdict.is_(None), mask.c.verdict != "reject"),
        )
    ).all()
    for found in kept:
        same = ("bbox", "area", "clicks", "edit_iou", "score", "locked")
        columns = content_of(found) | {name: found._mapping[name] for name in same}
        insert_mask(tx, new, str(uuid.uuid4()), columns, author=found.author_id, by=who.id, parent_id=found.id)
