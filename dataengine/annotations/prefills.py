"""Suggestions of stage 2: locked masks that lie in a task before anybody has it.

Only *untouched* tasks are prefilled: never leased, no repetition of a rejected pass. Prefilling one again, after a
promotion or under other settings, replaces what was suggested before. Work of people is never touched.
"""

from __future__ import annotations

import hashlib
import uuid
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Row

from dataengine.annotations.database import Database, Transaction
from dataengine.annotations.errors import MissingError
from dataengine.annotations.models import current_model, has_embedding, untouched
from dataengine.annotations.revisions import content_of, draft_columns, insert_mask, revise_mask
from dataengine.annotations.rle_rules import check_rle
from dataengine.annotations.tables import image, mask, prefill, probe, task, user
from schemas.annotations import MaskDraft, Prefilled, ProbeRates, Suggestion

ENGINE = "engine prefill"
"""Author of the suggestions: a user of role `service`, who can't log in."""
IDLE = ("pending", "ready")


class Prefills:
    """Which tasks of one stage want suggestions, and the suggestions themselves."""

    def __init__(self, database: Database, stage: str) -> None:
        self._database, self._stage = database, stage

    def wanted(self, source: str, ahead: int) -> list[int]:
        """Images to prefill next, in the queue's order: as many as are missing to `ahead` prefilled ready tasks.

        `source` names the detector and its settings; a task that was prefilled by another, or for another model
        than the current one, is prefilled anew. An image needs its embedding first.
        """
        with self._database.read() as connection:
            now = current_model(connection)
            if now is None:
                return []
            mine = task.c.stage == self._stage
            up_to_date = sa.exists().where(
                prefill.c.task_id == task.c.id, prefill.c.model == now.id, prefill.c.source == source
            )
            stale = sa.and_(untouched(task), ~up_to_date)
            ready = connection.execute(
                sa.select(sa.func.count()).where(mine, task.c.state == "ready", ~stale)
            ).scalar_one()
            rows = connection.execute(
                sa.select(task.c.image_id)
                .where(mine, task.c.state.in_(IDLE), stale, has_embedding(task.c.image_id, now.encoder))
                .order_by(task.c.priority, task.c.id)
                .limit(max(0, ahead - ready))
            ).scalars()
            return list(dict.fromkeys(rows))

    def put(self, found: Prefilled, source: str, rates: ProbeRates | None = None) -> int:
        """Makes the suggestions of an image's untouched tasks; returns of how many tasks.

        The tasks become ready when the image's embedding is. Nothing happens when another model has been promoted
        meanwhile. Raises MissingError without the image, InvalidError for a mask that isn't one of its frame.
        """
        rates = rates or ProbeRates()
        with self._database.write() as tx:
            size = tx.execute(sa.select(image.c.width, image.c.height).where(image.c.id == found.image_id)).first()
            if size is None:
                raise MissingError("no_image", f"there is no image {found.image_id}")
            now = current_model(tx.connection)
            if now is None or now.id != found.model:
                return 0
            idle = tx.execute(
                sa.select(task)
                .where(
                    task.c.image_id == found.image_id,
                    task.c.stage == self._stage,
                    task.c.state.in_(IDLE),
                    untouched(task),
                )
                .order_by(task.c.id)
                .with_for_update(key_share=True)
            ).all()
            if not idle:
                return 0
            author = engine_author(tx)
            for row in idle:
                self._replace(tx, row, author)
                self._suggest(tx, row, author, found, source, rates, (size.width, size.height))
            ready = has_embedding(task.c.image_id, now.encoder)
            chosen = task.c.id.in_([row.id for row in idle])
            tx.execute(sa.update(task).where(chosen, ready).values(state="ready", updated_at=tx.now))
            return len(idle)

    def _replace(self, tx: Transaction, row: Row[Any], author: int) -> None:
        """Withdraws what an earlier model suggested here."""
        old = tx.execute(
            sa.select(mask).where(
                mask.c.task_id == row.id,
                mask.c.state == "live",
                mask.c.source == "prefill",
                mask.c.author_id == author,
                mask.c.revision == 1,
            )
        ).all()
        for found in old:
            revise_mask(tx, row, found, content_of(found), "deleted", author, "prefilled anew")
        tx.execute(sa.delete(probe).where(probe.c.task_id == row.id, probe.c.outcome.is_(None)))
        tx.execute(sa.delete(prefill).where(prefill.c.task_id == row.id))

    def _suggest(
        self,
        tx: Transaction,
        row: Row[Any],
        author: int,
        found: Prefilled,
        source: str,
        rates: ProbeRates,
        frame: tuple[int, int],
    ) -> None:
        shown = list(found.suggestions)
        planted: Suggestion | None = None
        if len(shown) > 1 and drawn(row.id, "withheld", rates.withheld):
            withheld = shown.pop(chosen_of(row.id, "withheld", len(shown)))
            _note_probe(tx, row.id, str(uuid.uuid4()), "withheld", withheld)
        if found.planted is not None and shown and drawn(row.id, "planted", rates.planted):
            planted = found.planted
            shown.insert(chosen_of(row.id, "planted", len(shown) + 1), planted)
        facts: list[dict[str, Any]] = []
        for place, suggestion in enumerate(shown):
            mask_id = str(uuid.uuid4())
            insert_suggestion(tx, row, mask_id, suggestion, author, place, frame)
            facts.append({"mask": mask_id, **suggestion.model_dump(mode="json", include=PROVENANCE)})
            if suggestion is planted:
                _note_probe(tx, row.id, mask_id, "planted", suggestion)
        values = {"model": found.model, "source": source, "found": facts, "reason": found.failed}
        tx.execute(prefill.insert().values(task_id=row.id, created_at=tx.now, **values))
        count: dict[str, Any] = {"model": found.model, "source": source, "masks": len(shown), "reason": found.failed}
        tx.record("prefill", user=author, task=row.id, image=row.image_id, **count)


PROVENANCE = {"detector", "label", "stability_score"}


def insert_suggestion(
    tx: Transaction,
    row: Row[Any],
    mask_id: str,
    suggestion: Suggestion,
    author: int,
    place: int,
    frame: tuple[int, int],
) -> None:
    """A locked mask of source `prefill`. `frame` is (width, height)."""
    draft = MaskDraft(
        rle=suggestion.rle,
        source="prefill",
        prompts=suggestion.prompts,
        predicted_iou=suggestion.predicted_iou,
        model=suggestion.model,
        prominence=place,
    )
    columns = draft_columns(draft, check_rle(draft.rle, *frame, what="suggestion"))
    insert_mask(tx, row, mask_id, columns, author=author, by=author, locked=True, score=suggestion.score)


def engine_author(tx: Transaction) -> int:
    """Id of the user that stands for the engine."""
    found = tx.execute(sa.select(user.c.id).where(user.c.name == ENGINE)).scalar_one_or_none()
    if found is not None:
        return int(found)
    values = {"name": ENGINE, "role": "service", "password": None, "active": True, "created_at": tx.now}
    made = int(tx.execute(user.insert().values(**values).returning(user.c.id)).scalar_one())
    tx.record("add_user", user=made, role="service")
    return made


def drawn(task_id: int, kind: str, share: float) -> bool:
    """The same answer for ever, so that prefilling anew doesn't move a probe to where it was not."""
    return _fraction(task_id, kind) < share


def chosen_of(task_id: int, kind: str, count: int) -> int:
    return int(_fraction(task_id, f"{kind} which") * count)


def _fraction(task_id: int, kind: str) -> float:
    digest = hashlib.sha256(f"probe/{kind}/{task_id}".encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def _note_probe(tx: Transaction, task_id: int, mask_id: str, kind: str, suggestion: Suggestion) -> None:
    content = suggestion.model_dump(mode="json")
    tx.execute(probe.insert().values(task_id=task_id, mask_id=mask_id, kind=kind, content=content, created_at=tx.now))
