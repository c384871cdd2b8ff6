"""Writing a mask: its row, the revision that is kept for ever, and the event, always the three together."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy import Row

from dataengine.annotations.database import Transaction
from dataengine.annotations.errors import ConflictError
from dataengine.annotations.events import content_hash
from dataengine.annotations.rle_rules import MaskFacts
from dataengine.annotations.tables import lease, mask, mask_revision
from dataengine.masks import rle_iou
from schemas import RLE
from schemas.annotations import MaskDraft

CONTENT = ("source", "counts", "prompts", "suggestion", "predicted_iou", "model", "active_ms", "prominence", "is_group")
"""Columns that a person decides: what a revision keeps and its hash covers."""


def draft_columns(draft: MaskDraft, facts: MaskFacts) -> dict[str, Any]:
    """A checked draft as columns of `mask`."""
    suggestion = draft.suggestion
    return {
        "source": draft.source,
        "counts": draft.rle.counts,
        "bbox": facts.bbox,
        "area": facts.area,
        "prompts": draft.prompts.model_dump(mode="json") if draft.prompts else None,
        "clicks": draft.prompts.clicks if draft.prompts else None,
        "suggestion": suggestion.counts if suggestion else None,
        "edit_iou": float(rle_iou([draft.rle], [suggestion])[0, 0]) if suggestion else None,
        "predicted_iou": draft.predicted_iou,
        "model": draft.model,
        "active_ms": draft.active_ms,
        "prominence": draft.prominence,
        "is_group": draft.group,
    }


def insert_mask(
    tx: Transaction, task_row: Row[Any], mask_id: str, columns: dict[str, Any], *, author: int, by: int, **more: Any
) -> None:
    """A new mask at revision 1. `by` saved it, `author` made it."""
    counted = count_time(tx, task_row.lease_id, columns["active_ms"]) if "parent_id" not in more else 0
    values = {"locked": False, "score": None, **columns, **more}
    times = {"created_at": tx.now, "updated_at": tx.now}
    tx.execute(
        mask.insert().values(
            id=mask_id,
            task_id=task_row.id,
            author_id=author,
            revision=1,
            state="live",
            counted_ms=counted,
            **values,
            **times,
        )
    )
    _keep(tx, task_row, mask_id, 1, columns, "live", by, counted, None)


def revise_mask(
    tx: Transaction, task_row: Row[Any], old: Row[Any], columns: dict[str, Any], state: str, by: int, reason: str | None
) -> int:
    """The next revision of a mask; returns its number."""
    revision = old.revision + 1
    counted = count_time(tx, task_row.lease_id, columns["active_ms"] - old.active_ms)
    changed = {**columns, "state": state, "revision": revision, "updated_at": tx.now}
    tx.execute(sa.update(mask).where(mask.c.id == old.id).values(counted_ms=old.counted_ms + counted, **changed))
    _keep(tx, task_row, old.id, revision, columns, state, by, counted, reason)
    return revision


def content_of(row: Row[Any]) -> dict[str, Any]:
    """The columns a person decides, of a mask as it is."""
    return {name: row._mapping[name] for name in CONTENT}


def require_base(old: Row[Any] | None, task_row: Row[Any], mask_id: str, base_revision: int) -> None:
    """Raises ConflictError when the mask is another task's, or isn't at the revision the client worked on."""
    if old is not None and old.task_id != task_row.id:
        raise ConflictError("mask_elsewhere", f"mask {mask_id} belongs to another task")
    now = old.revision if old is not None else 0
    if now != base_revision:
        raise ConflictError(
            "revision_conflict", f"mask {mask_id} is at revision {now}, not {base_revision}", revision=now
        )


def count_time(tx: Transaction, lease_id: str | None, claimed_ms: int) -> int:
    """How much of the time a client claims is believed: never more than its lease has been active."""
    if lease_id is None or claimed_ms <= 0:
        return 0
    row = tx.execute(sa.select(lease.c.active_ms, lease.c.counted_ms).where(lease.c.id == lease_id)).one()
    counted = max(0, min(claimed_ms, row.active_ms - row.counted_ms))
    tx.execute(sa.update(lease).where(lease.c.id == lease_id).values(counted_ms=row.counted_ms + counted))
    return counted


def as_rle(row: Row[Any], height: int, width: int) -> RLE:
    return RLE(size=[height, width], counts=row.counts)


def _keep(
    tx: Transaction,
    task_row: Row[Any],
    mask_id: str,
    revision: int,
    columns: dict[str, Any],
    state: str,
    by: int,
    counted: int,
    reason: str | None,
) -> None:
    content = {name: columns[name] for name in CONTENT}
    digest = content_hash(content)
    tx.execute(
        mask_revision.insert().values(
            mask_id=mask_id,
            revision=revision,
            user_id=by,
            lease_id=task_row.lease_id,
            state=state,
            content=content,
            sha256=digest,
            counted_ms=counted,
            reason=reason,
            created_at=tx.now,
        )
    )
    kind = "save_mask" if state == "live" else "delete_mask"
    facts = {"revision": revision, "sha256": digest, "lease": task_row.lease_id, "fence": task_row.fence}
    tx.record(kind, user=by, task=task_row.id, image=task_row.image_id, mask=mask_id, **facts)
