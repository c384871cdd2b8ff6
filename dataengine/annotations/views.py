"""Rows -> records: what the store shows of a task, an image and its masks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Row

from dataengine.annotations.errors import MissingError
from dataengine.annotations.models import model_of_lease
from dataengine.annotations.tables import image, mask, review, task
from schemas import RLE
from schemas.annotations import AnnotatedMask, Prompts, Redaction, Task, TaskImage


def task_view(connection: Connection, task_id: int) -> Task:
    """The task with its image, its live masks in order of making, and its newest review. MissingError if none."""
    row = connection.execute(sa.select(task).where(task.c.id == task_id)).first()
    if row is None:
        raise MissingError("no_task", f"there is no task {task_id}")
    seen = image_view(connection, row.image_id)
    newest = connection.execute(
        sa.select(review).where(review.c.task_id.in_([task_id, row.parent_id])).order_by(review.c.id.desc()).limit(1)
    ).first()
    return Task(
        id=row.id,
        kind="review" if row.state in ("submitted", "in_review") else "annotate",
        stage=row.stage,
        pass_=row._mapping["pass"],
        purpose=row.purpose,
        state=row.state,
        lease=row.lease_id,
        fence=row.fence,
        expires_at=row.lease_expires_at,
        annotator=row.annotator_id,
        exhaustive=row.exhaustive,
        encoder=row.encoder,
        model=model_of_lease(connection, row.encoder, row.lease_id),
        image=seen,
        masks=list(masks_of(connection, task_id, seen)),
        review=_review_view(newest) if newest is not None else None,
    )


def masks_of(connection: Connection, task_id: int, of: TaskImage) -> Iterable[AnnotatedMask]:
    """Live masks of a task, by prominence, then by when they were made."""
    rows = connection.execute(
        sa.select(mask)
        .where(mask.c.task_id == task_id, mask.c.state == "live")
        .order_by(mask.c.prominence, mask.c.created_at, mask.c.id)
    )
    return (mask_view(row, of) for row in rows)


def mask_view(row: Row[Any], of: TaskImage) -> AnnotatedMask:
    size = [of.height, of.width]
    return AnnotatedMask(
        id=row.id,
        task_id=row.task_id,
        author=row.author_id,
        rle=RLE(size=size, counts=row.counts),
        bbox=row.bbox,
        area=row.area,
        source=row.source,
        prompts=Prompts.model_validate(row.prompts) if row.prompts is not None else None,
        suggestion=RLE(size=size, counts=row.suggestion) if row.suggestion is not None else None,
        predicted_iou=row.predicted_iou,
        score=row.score,
        model=row.model,
        active_ms=row.active_ms,
        prominence=row.prominence,
        group=row.is_group,
        locked=row.locked,
        revision=row.revision,
        state=row.state,
        verdict=row.verdict,
    )


def image_view(connection: Connection, image_id: int) -> TaskImage:
    row = connection.execute(sa.select(image).where(image.c.id == image_id)).first()
    if row is None:
        raise MissingError("no_image", f"there is no image {image_id}")
    return TaskImage(
        id=row.id,
        name=row.name,
        width=row.width,
        height=row.height,
        original_width=row.original_width,
        original_height=row.original_height,
        source=row.source,
        path=row.path,
        sha256=row.sha256,
        redactions=[Redaction.model_validate(box) for box in row.redactions],
    )


def _review_view(row: Row[Any]) -> dict[str, Any]:
    return {
        "task": row.task_id,
        "reviewer": row.reviewer_id,
        "verdict": row.verdict,
        "reason": row.reason,
        "masks": row.masks,
        "at": row.created_at,
    }
