"""What the holder of a lease does: masks, redactions, done, skipped. Lease and fence are checked in the same
transaction that saves, so none of this needs anybody's permission but the database's.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy import Row

from dataengine.annotations.agreement import compare_passes
from dataengine.annotations.database import Database, KeptRefusal, Transaction
from dataengine.annotations.errors import ConflictError, InvalidError
from dataengine.annotations.leases import LeaseRules, end_lease, hold_as, locked_task
from dataengine.annotations.mutations import Answer, canonical_id, forget_answers, once
from dataengine.annotations.probes import judge_probes
from dataengine.annotations.revisions import content_of, draft_columns, insert_mask, require_base, revise_mask
from dataengine.annotations.rle_rules import check_rle
from dataengine.annotations.states import next_state
from dataengine.annotations.tables import image, mask, orphan
from schemas.annotations import SKIP_REASONS, Held, MaskDraft, Redaction, User

MASKS_PER_TASK = 5000
REDACTIONS_PER_IMAGE = 1000


class Work:
    """Writes under a lease. Every method: the same `held.mutation` again gives the same answer.

    Raises ConflictError `lease_lost` when the lease has gone to somebody else; then `details["orphan"]` says
    that a mask was kept as an orphan draft.
    """

    def __init__(self, database: Database, rules: LeaseRules) -> None:
        self._database, self._rules = database, rules

    def save_mask(
        self, who: User, task_id: int, mask_id: str, held: Held, base_revision: int, draft: MaskDraft
    ) -> Answer:
        """Makes a mask (`base_revision` 0) or its next revision -> {"revision": n}.

        Raises InvalidError for a mask that isn't one, ConflictError `revision_conflict` when somebody (another
        tab) saved in between: both versions are kept, the one that came second as an orphan draft.
        """
        mask_id = canonical_id(mask_id)
        content = draft.model_dump(mode="json")
        request = ["save_mask", task_id, mask_id, held.lease, held.fence, base_revision, content]
        with self._database.write() as tx:

            def act() -> Answer:
                frame = self._frame(tx, task_id)
                facts = check_rle(draft.rle, *frame)
                if draft.suggestion is not None:
                    check_rle(draft.suggestion, *frame, what="suggestion")
                columns = draft_columns(draft, facts)
                try:
                    return {"revision": self._save(tx, who, task_id, mask_id, held, base_revision, columns)}
                except ConflictError as conflict:
                    raise _kept(tx, conflict, who, task_id, mask_id, held, content) from conflict

            return once(tx, who.id, held.mutation, request, act)

    def delete_mask(
        self, who: User, task_id: int, mask_id: str, held: Held, base_revision: int, reason: str | None = None
    ) -> Answer:
        """Marks a mask as deleted -> {"revision": n}; saving it again brings it back."""
        mask_id = canonical_id(mask_id)
        request = ["delete_mask", task_id, mask_id, held.lease, held.fence, base_revision, reason]
        with self._database.write() as tx:

            def act() -> Answer:
                row = hold_as(tx, who, task_id, held, "delete_mask", self._rules)
                old = _mask_row(tx, mask_id)
                require_base(old, row, mask_id, base_revision)
                if old is None:
                    raise ConflictError("no_mask", f"there is no mask {mask_id}")
                return {"revision": revise_mask(tx, row, old, content_of(old), "deleted", who.id, reason)}

            return once(tx, who.id, held.mutation, request, act)

    def redact(self, who: User, task_id: int, held: Held, boxes: list[Redaction]) -> Answer:
        """Replaces the image's boxes to hide -> {"redactions": number that is live}. A box must lie in the image."""
        listed = [box.model_dump(mode="json") for box in boxes]
        request = ["redact", task_id, held.lease, held.fence, listed]
        with self._database.write() as tx:

            def act() -> Answer:
                _check_boxes(boxes, *self._frame(tx, task_id))
                row = hold_as(tx, who, task_id, held, "redact", self._rules)
                tx.execute(sa.update(image).where(image.c.id == row.image_id).values(redactions=listed))
                tx.record("redact", user=who.id, task=task_id, image=row.image_id, boxes=listed)
                return {"redactions": sum(box.state == "live" for box in boxes)}

            return once(tx, who.id, held.mutation, request, act)

    def finish(self, who: User, task_id: int, held: Held, exhaustive: bool) -> Answer:
        """ "Image done" -> {"state": "submitted"}; `exhaustive`: every object has its mask."""
        with self._database.write() as tx:

            def act() -> Answer:
                row = hold_as(tx, who, task_id, held, "finish", self._rules)
                judge_probes(tx, row)
                end_lease(tx, row, "submitted", "submitted", exhaustive=exhaustive, submitted_at=tx.now)
                live = sa.select(sa.func.count()).where(mask.c.task_id == task_id, mask.c.state == "live")
                facts = {"exhaustive": exhaustive, "masks": tx.execute(live).scalar_one()}
                tx.record("finish", user=who.id, task=task_id, image=row.image_id, lease=row.lease_id, **facts)
                compare_passes(tx, row)
                return {"state": "submitted"}

            return once(tx, who.id, held.mutation, ["finish", task_id, held.lease, held.fence, exhaustive], act)

    def skip(self, who: User, task_id: int, held: Held, reason: str, note: str | None = None) -> Answer:
        """Leaves the image out, with a reason of `SKIP_REASONS` -> {"state": "skipped"}."""
        if reason not in SKIP_REASONS:
            raise InvalidError("reason", f"a skip needs a reason: {', '.join(SKIP_REASONS)}")
        with self._database.write() as tx:

            def act() -> Answer:
                row = hold_as(tx, who, task_id, held, "skip", self._rules)
                text = f"{reason}: {note}" if note else reason
                end_lease(tx, row, "skipped", next_state("skip", row.state), reason=text)
                tx.record("skip", user=who.id, task=task_id, image=row.image_id, lease=row.lease_id, reason=text)
                return {"state": "skipped"}

            return once(tx, who.id, held.mutation, ["skip", task_id, held.lease, held.fence, reason, note], act)

    def orphans(self, task_id: int | None = None, user_id: int | None = None) -> list[dict[str, Any]]:
        """Drafts that came too late, newest first (at most 1000)."""
        query = sa.select(orphan).order_by(orphan.c.id.desc()).limit(1000)
        if task_id is not None:
            query = query.where(orphan.c.task_id == task_id)
        if user_id is not None:
            query = query.where(orphan.c.user_id == user_id)
        with self._database.read() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]

    def forget_answers(self) -> int:
        """Forgets the answers to writes that nobody can repeat any more (see there); returns how many."""
        return forget_answers(self._database)

    def _save(
        self,
        tx: Transaction,
        who: User,
        task_id: int,
        mask_id: str,
        held: Held,
        base_revision: int,
        columns: dict[str, Any],
    ) -> int:
        row = hold_as(tx, who, task_id, held, "save_mask", self._rules)
        old = _mask_row(tx, mask_id)
        require_base(old, row, mask_id, base_revision)
        if old is None:
            held_masks = tx.execute(sa.select(sa.func.count()).where(mask.c.task_id == task_id)).scalar_one()
            if held_masks >= MASKS_PER_TASK:
                raise InvalidError("too_many_masks", f"a task takes at most {MASKS_PER_TASK} masks")
            insert_mask(tx, row, mask_id, columns, author=who.id, by=who.id)
            return 1
        if old.locked and row.state == "leased":
            raise ConflictError("mask_locked", f"mask {mask_id} is a locked prefill; delete it and draw another")
        if row.state == "in_review":
            columns = {**columns, "verdict": "fixed"}
        return revise_mask(tx, row, old, columns, "live", who.id, None)

    def _frame(self, tx: Transaction, task_id: int) -> tuple[int, int]:
        row = locked_task(tx, task_id)
        size = tx.execute(sa.select(image.c.width, image.c.height).where(image.c.id == row.image_id)).one()
        return size.width, size.height


def _kept(
    tx: Transaction, conflict: ConflictError, who: User, task_id: int, mask_id: str, held: Held, content: Any
) -> Exception:
    """The refusal, after keeping the work when it was honest work: under a lease that once was this person's."""
    if conflict.code not in ("lease_lost", "revision_conflict"):
        return conflict
    mutation = canonical_id(held.mutation)
    same = sa.select(orphan.c.id).where(orphan.c.user_id == who.id, orphan.c.mutation == mutation)
    if tx.execute(same).first() is None:
        values = {"user_id": who.id, "mutation": mutation, "task_id": task_id, "mask_id": mask_id}
        lease = {"lease_id": held.lease, "fence": held.fence, "cause": conflict.code}
        tx.execute(orphan.insert().values(content=content, created_at=tx.now, **values, **lease))
        tx.record("orphan", user=who.id, task=task_id, mask=mask_id, cause=conflict.code, lease=held.lease)
    conflict.details["orphan"] = True
    return KeptRefusal(conflict)


def _mask_row(tx: Transaction, mask_id: str) -> Row[Any] | None:
    return tx.execute(sa.select(mask).where(mask.c.id == mask_id).with_for_update()).first()


def _check_boxes(boxes: list[Redaction], width: int, height: int) -> None:
    if len(boxes) > REDACTIONS_PER_IMAGE:
        raise InvalidError("too_many_boxes", f"an image takes at most {REDACTIONS_PER_IMAGE} boxes")
    for box in boxes:
        x0, y0, x1, y1 = box.box
        if not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height):
            raise InvalidError("box", f"box {box.id}: {list(box.box)} is not inside the {width}x{height} image")
    if len({box.id for box in boxes}) != len(boxes):
        raise InvalidError("box", "two boxes have the same id")
