"""Hidden probes of stage 2, judged when a task is finished.

A *withheld* confident suggestion that the annotator doesn't add is a missed object: the share that is added is his
recall. A *planted* bad one that he leaves is automation bias. Neither harms the data: a planted mask never outlives
its task's end, and a withheld one that nobody added comes back as the suggestion it would have been.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Row

from dataengine.annotations.database import Transaction
from dataengine.annotations.prefills import engine_author, insert_suggestion
from dataengine.annotations.revisions import content_of, revise_mask
from dataengine.annotations.tables import image, mask, probe, task
from dataengine.masks import rle_iou
from schemas import RLE
from schemas.annotations import Suggestion

FOUND_IOU = 0.5
"""A mask of the annotator's that overlaps the withheld one more is the same object."""


def judge_probes(tx: Transaction, row: Row[Any]) -> None:
    """Gives every open probe of the task its outcome and takes it out of the task's masks."""
    open_ones = tx.execute(
        sa.select(probe).where(probe.c.task_id == row.id, probe.c.outcome.is_(None)).order_by(probe.c.id)
    ).all()
    if not open_ones:
        return
    size = tx.execute(sa.select(image.c.width, image.c.height).where(image.c.id == row.image_id)).one()
    live = tx.execute(sa.select(mask).where(mask.c.task_id == row.id, mask.c.state == "live")).all()
    author = engine_author(tx)
    for one in open_ones:
        if one.kind == "planted":
            kept = next((found for found in live if found.id == one.mask_id), None)
            outcome = "deleted" if kept is None else "kept"
            if kept is not None:
                revise_mask(tx, row, kept, content_of(kept), "deleted", author, "probe")
        else:
            suggestion = Suggestion.model_validate(one.content)
            own = [RLE(size=[size.height, size.width], counts=found.counts) for found in live if not found.locked]
            found_again = bool(own) and float(rle_iou([suggestion.rle], own).max()) >= FOUND_IOU
            outcome = "found" if found_again else "missed"
            if not found_again:
                insert_suggestion(tx, row, one.mask_id, suggestion, author, len(live), (size.width, size.height))
        tx.execute(sa.update(probe).where(probe.c.id == one.id).values(outcome=outcome))


def probe_figures(connection: Connection, stage: str, *, by_user: bool = True) -> dict[Any, dict[str, Any]]:
    """User id (or None for all together) -> withheld, recall, planted, automation_bias; shares are None without any."""
    annotator = task.c.annotator_id if by_user else sa.null()
    query = (
        sa.select(annotator.label("who"), probe.c.outcome, sa.func.count().label("number"))
        .join(task, task.c.id == probe.c.task_id)
        .where(task.c.stage == stage, probe.c.outcome.is_not(None))
        .group_by(*([task.c.annotator_id] if by_user else []), probe.c.outcome)
    )
    counts: dict[Any, dict[str, int]] = {}
    for row in connection.execute(query):
        counts.setdefault(row.who, {})[row.outcome] = row.number
    return {who: _shares(outcomes) for who, outcomes in counts.items()}


def no_probes() -> dict[str, Any]:
    return _shares({})


def _shares(outcomes: dict[str, int]) -> dict[str, Any]:
    found, missed, deleted, kept = (outcomes.get(name, 0) for name in ("found", "missed", "deleted", "kept"))
    return {
        "withheld": found + missed,
        "recall": round(found / (found + missed), 4) if found + missed else None,
        "planted": deleted + kept,
        "automation_bias": round(kept / (deleted + kept), 4) if deleted + kept else None,
    }
