"""Tasks: claimed, worked on, finished, reviewed."""

from __future__ import annotations

import uuid
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query

from dataengine.annotator.access import CurrentAdmin, CurrentContext, CurrentReviewer, CurrentUser
from dataengine.annotator.wire import (
    ClaimBody,
    DeleteMaskBody,
    FinishBody,
    HeartbeatBody,
    HeldBody,
    RedactionsBody,
    ReviewBody,
    SaveMaskBody,
    SkipBody,
    iso,
    model_json,
    task_json,
)
from schemas.annotations import REJECT_REASONS, SKIP_REASONS, Review, TaskState, Uuid

router = APIRouter(prefix="/api", tags=["tasks"])

TaskId = Annotated[int, Path(ge=1, lt=2**63)]
MaskId = Annotated[Uuid, Path()]


@router.get("/state")
def state(user: CurrentUser, context: CurrentContext) -> dict[str, Any]:
    store, settings = context.store, context.settings
    model = store.images.model()
    return {
        "home": settings.home,
        "stage": store.stage,
        "nudge_seconds": settings.nudge_seconds,
        "lease_seconds": store.rules.milliseconds // 1000,
        "heartbeat_seconds": settings.heartbeat_seconds,
        "skip_reasons": list(SKIP_REASONS),
        "reject_reasons": list(REJECT_REASONS),
        "model": model_json(model) if model is not None else None,
        "counts": store.queue.counts(),
    }


@router.post("/tasks/claim")
def claim(body: ClaimBody, user: CurrentUser, context: CurrentContext) -> dict[str, Any]:
    """The next task under a new lease, or `empty`, which says why there is none."""
    claimed = context.queue.claim(user, body.kind, body.mutation)
    if claimed.task_id is None:
        return {"task": None, "empty": claimed.empty.model_dump() if claimed.empty else None}
    shown = _task(context, claimed.task_id)
    # The lease of this claim, also when the same mutation is asked again after it was lost.
    shown |= {"kind": body.kind, "lease": claimed.lease, "fence": claimed.fence}
    return {"task": shown | {"expires_at": iso(claimed.expires_at)}}


@router.get("/tasks/mine")
def mine(user: CurrentUser, context: CurrentContext) -> dict[str, Any]:
    """The tasks this user holds: after a reload of the page."""
    now = context.store.images.model()
    return {"tasks": [task_json(task, now) for task in context.store.queue.mine(user)]}


@router.get("/tasks")
def tasks(
    user: CurrentReviewer,
    context: CurrentContext,
    state: TaskState | None = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> dict[str, Any]:
    listed = context.store.queue.listing(state, limit)
    for row in listed:
        row["expires_at"] = iso(row["expires_at"])
    return {"tasks": listed}


@router.get("/orphans")
def orphans(user: CurrentUser, context: CurrentContext, task: int | None = None) -> dict[str, Any]:
    """Masks that came too late: one's own, or, for reviewers, everybody's."""
    everybody = user.role in ("reviewer", "admin")
    return {"orphans": context.store.work.orphans(task, None if everybody else user.id)}


@router.post("/tasks/{task_id}/heartbeat")
def heartbeat(task_id: TaskId, body: HeartbeatBody, user: CurrentUser, context: CurrentContext) -> dict[str, Any]:
    return {"expires_at": iso(context.queue.heartbeat(user, task_id, body.lease, body.fence))}


@router.put("/tasks/{task_id}/masks/{mask_id}")
def save_mask(
    task_id: TaskId, mask_id: MaskId, body: SaveMaskBody, user: CurrentUser, context: CurrentContext
) -> dict[str, Any]:
    return context.store.work.save_mask(user, task_id, mask_id, body.held, body.base_revision, body.mask)


@router.delete("/tasks/{task_id}/masks/{mask_id}")
def delete_mask(
    task_id: TaskId, mask_id: MaskId, body: DeleteMaskBody, user: CurrentUser, context: CurrentContext
) -> dict[str, Any]:
    return context.store.work.delete_mask(user, task_id, mask_id, body.held, body.base_revision, body.reason)


@router.put("/tasks/{task_id}/redactions")
def redact(task_id: TaskId, body: RedactionsBody, user: CurrentUser, context: CurrentContext) -> dict[str, Any]:
    return context.store.work.redact(user, task_id, body.held, body.boxes)


@router.post("/tasks/{task_id}/finish")
def finish(task_id: TaskId, body: FinishBody, user: CurrentUser, context: CurrentContext) -> dict[str, Any]:
    return context.store.work.finish(user, task_id, body.held, body.exhaustive)


@router.post("/tasks/{task_id}/skip")
def skip(task_id: TaskId, body: SkipBody, user: CurrentUser, context: CurrentContext) -> dict[str, Any]:
    return context.store.work.skip(user, task_id, body.held, body.reason, body.note)


@router.post("/tasks/{task_id}/release")
def release(task_id: TaskId, body: HeldBody, user: CurrentUser, context: CurrentContext) -> dict[str, Any]:
    return context.queue.release(user, task_id, body.held)


@router.post("/tasks/{task_id}/review")
def review(task_id: TaskId, body: ReviewBody, user: CurrentUser, context: CurrentContext) -> dict[str, Any]:
    verdict = Review.model_validate({"verdict": body.verdict, "reason": body.reason, "masks": body.masks})
    return context.store.reviews.give(user, task_id, body.held, verdict)


@router.post("/tasks/{task_id}/steal")
def steal(task_id: TaskId, user: CurrentAdmin, context: CurrentContext) -> dict[str, Any]:
    return context.queue.steal(user, task_id, str(uuid.uuid4()))


@router.post("/tasks/{task_id}/reopen")
def reopen(task_id: TaskId, user: CurrentReviewer, context: CurrentContext) -> dict[str, Any]:
    return context.store.queue.reopen(user, task_id)


def _task(context: CurrentContext, task_id: int) -> dict[str, Any]:
    return task_json(context.store.queue.task(task_id), context.store.images.model())
