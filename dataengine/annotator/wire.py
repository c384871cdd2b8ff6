"""What goes over the wire: bodies of requests, and the store's records as the page reads them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from dataengine.media.display import display_levels
from schemas.annotations import (
    AnnotatedMask,
    AnnotationModel,
    Held,
    LeaseKind,
    MaskDraft,
    MaskVerdict,
    Name,
    Reason,
    Redaction,
    Role,
    Task,
    TaskImage,
    Uuid,
)

Password = Annotated[str, Field(min_length=1, max_length=1024)]
Secret = Annotated[str, Field(min_length=1, max_length=256)]


class Body(BaseModel):
    """An unknown field is an error: a page and a server that don't fit should notice."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class Login(Body):
    name: Annotated[str, Field(min_length=1, max_length=64)]
    password: Password


class LinkLogin(Body):
    token: Secret


class ClaimBody(Body):
    kind: LeaseKind
    mutation: Uuid


class HeartbeatBody(Body):
    lease: Uuid
    fence: int = Field(ge=1)


class HeldBody(Body):
    lease: Uuid
    fence: int = Field(ge=1)
    mutation: Uuid

    @property
    def held(self) -> Held:
        return Held(lease=self.lease, fence=self.fence, mutation=self.mutation)


class SaveMaskBody(HeldBody):
    base_revision: int = Field(ge=0)
    mask: MaskDraft


class DeleteMaskBody(HeldBody):
    base_revision: int = Field(ge=0)
    reason: Reason | None = None


class RedactionsBody(HeldBody):
    boxes: Annotated[list[Redaction], Field(max_length=1000)]


class FinishBody(HeldBody):
    exhaustive: bool


class SkipBody(HeldBody):
    reason: Reason
    note: Annotated[str, Field(max_length=1000)] | None = None


class ReviewBody(HeldBody):
    verdict: Annotated[str, Field(pattern="^(accept|reject)$")]
    reason: Reason | None = None
    masks: Annotated[list[MaskVerdict], Field(max_length=10_000)] = Field(default_factory=list)


class DecodeBody(Body):
    points: Annotated[list[tuple[float, float, int]], Field(max_length=500)] = Field(default_factory=list)
    box: tuple[float, float, float, float] | None = None
    mask_input: Annotated[str, Field(max_length=1 << 20)] | None = None
    model: str | None = Field(None, max_length=128)


class NewUser(Body):
    name: Name
    role: Role
    password: Password | None = None


class ChangeUser(Body):
    name: Name | None = None
    role: Role | None = None
    password: Password | None = None
    active: bool | None = None


class ChangeMe(Body):
    name: Name | None = None
    password: Password


class NewToken(Body):
    user: Name
    scope: Annotated[str, Field(pattern="^(read|write|link)$")]
    days: float = Field(30, gt=0, le=366)
    label: Annotated[str, Field(max_length=128)] = ""


def iso(milliseconds: int | None) -> str | None:
    """A time of the server as ISO 8601 in UTC."""
    if milliseconds is None:
        return None
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def image_json(image: TaskImage, encoder: str | None) -> dict[str, Any]:
    base = f"/api/images/{image.id}"
    levels = [
        {"width": width, "height": height, "url": f"{base}/display?width={width}"}
        for width, height in display_levels(image.width, image.height)
    ]
    return {
        "id": image.id,
        "width": image.width,
        "height": image.height,
        "name": image.name,
        "display_url": f"{base}/display",
        "pyramid": levels,
        "embedding_url": f"{base}/embedding?encoder={encoder}" if encoder else None,
        "encoder": encoder,
    }


def mask_json(mask: AnnotatedMask) -> dict[str, Any]:
    return mask.model_dump(mode="json", exclude={"task_id"})


def task_json(task: Task, now: AnnotationModel | None) -> dict[str, Any]:
    """`now`: the current model, for a task that was never annotated under another."""
    model = task.model or now
    return {
        "id": task.id,
        "kind": task.kind,
        "stage": task.stage,
        "pass": task.pass_,
        "purpose": task.purpose if task.purpose != "overlap" else "first",
        "state": task.state,
        "lease": task.lease,
        "fence": task.fence,
        "expires_at": iso(task.expires_at),
        "model": model_json(model) if model is not None else None,
        "image": image_json(task.image, model.encoder if model is not None else None),
        "masks": [mask_json(mask) for mask in task.masks],
        "redactions": [box.model_dump(mode="json") for box in task.image.redactions],
        "exhaustive": task.exhaustive,
        "review": task.review,
    }


def model_json(model: AnnotationModel) -> dict[str, Any]:
    side = model.embedding_size
    return {
        "id": model.id,
        "name": model.name,
        "encoder": model.encoder,
        "input_size": model.input_size,
        "embedding_shape": [256, side, side],
        "mask_threshold": model.mask_threshold,
        "decoder_url": f"/api/models/{model.id}/decoder.onnx",
    }
