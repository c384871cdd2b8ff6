"""How much two annotators agree who did the same image without seeing each other's masks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import sqlalchemy as sa
from sqlalchemy import Row

from dataengine.annotations.database import Transaction
from dataengine.annotations.states import WORKED
from dataengine.annotations.tables import agreement, image, mask, task
from dataengine.masks import rle_iou
from schemas import RLE

MATCH_IOU = 0.5
"""Two masks that overlap more are the same object (panoptic quality, Kirillov et al. 2019)."""


@dataclass(frozen=True)
class Agreement:
    """`matched` pairs with their mean IoU; `unmatched` masks of either side.

    `panoptic_quality` = sum of matched IoU / (matched + unmatched / 2). None where nothing can be said.
    """

    matched: int
    unmatched: int
    mean_iou: float | None
    panoptic_quality: float | None


def agreement_of(first: list[RLE], second: list[RLE]) -> Agreement:
    """Pairs masks one to one, the highest IoU first (SA-1B's masks nest, so a mask may overlap several)."""
    ious = rle_iou(first, second)
    matched: list[float] = []
    rows, columns = np.nonzero(ious > MATCH_IOU)
    taken_rows: set[int] = set()
    taken_columns: set[int] = set()
    for index in np.argsort(-ious[rows, columns], kind="stable"):
        row, column = int(rows[index]), int(columns[index])
        if row not in taken_rows and column not in taken_columns:
            taken_rows.add(row)
            taken_columns.add(column)
            matched.append(float(ious[row, column]))
    unmatched = len(first) + len(second) - 2 * len(matched)
    if not matched and not unmatched:
        return Agreement(0, 0, None, None)
    quality = sum(matched) / (len(matched) + unmatched / 2)
    return Agreement(len(matched), unmatched, float(np.mean(matched)) if matched else None, quality)


def compare_passes(tx: Transaction, done: Row[Any]) -> None:
    """When a pass is finished: its agreement with each finished pass it is the blind repetition of, or the reverse.

    Taken at this moment, before any reviewer has changed a mask.
    """
    others = tx.execute(
        sa.select(task).where(
            task.c.image_id == done.image_id,
            task.c.stage == done.stage,
            task.c.id != done.id,
            task.c.state.in_(WORKED),
            (task.c.purpose == "overlap") != (done.purpose == "overlap"),
        )
    ).all()
    if not others:
        return
    size = tx.execute(sa.select(image.c.height, image.c.width).where(image.c.id == done.image_id)).one()
    mine = _masks(tx, done.id, [size.height, size.width])
    for other in others:
        found = agreement_of(mine, _masks(tx, other.id, [size.height, size.width]))
        values = {"matched": found.matched, "unmatched": found.unmatched, "mean_iou": found.mean_iou}
        tx.execute(
            agreement.insert().values(
                task_id=done.id,
                other_id=other.id,
                panoptic_quality=found.panoptic_quality,
                created_at=tx.now,
                **values,
            )
        )


def _masks(tx: Transaction, task_id: int, size: list[int]) -> list[RLE]:
    rows = tx.execute(sa.select(mask.c.counts).where(mask.c.task_id == task_id, mask.c.state == "live"))
    return [RLE(size=size, counts=row.counts) for row in rows]
