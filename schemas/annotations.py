"""What people make in stages 1 and 2: masks, verdicts, tasks, as they pass between browser, server and store.

Everything lives in the *annotation frame*: the release frame of the shards (short side at most
`shards.short_side`), pixels, xy, origin at the top-left corner. Times are milliseconds since 1970 of the
server's clock.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from schemas.records import RLE, Record

Role = Literal["annotator", "reviewer", "admin", "service"]
Stage = Literal["assisted-manual", "semi-automatic"]
TaskState = Literal["pending", "ready", "leased", "submitted", "in_review", "accepted", "rejected", "skipped"]
LeaseKind = Literal["annotate", "review"]
MaskSource = Literal["assisted", "brushed", "prefill", "automatic"]
Name = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[\w.@ -]+$")]
Reason = Annotated[str, Field(max_length=200)]
Uuid = Annotated[str, Field(pattern=r"^[0-9a-fA-F]{8}-?(?:[0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}$")]
"""Made by the client: of a mask, or of a mutation, so that the same request twice is one."""

SKIP_REASONS = ("nothing to annotate", "too many objects", "unreadable image", "private content", "other")
REJECT_REASONS = ("missing objects", "wrong boundary", "wrong granularity", "duplicate mask", "not an object", "other")


class User(Record):
    """Who acts. The store checks the role itself, whatever the API did before."""

    id: int
    name: str
    role: Role


class Held(Record):
    """What every write of a lease's holder carries: the lease, its fencing number, and the id of this write."""

    lease: Uuid
    fence: int = Field(ge=1)
    mutation: Uuid


class Prompts(Record):
    """What a person gave the model: points [x, y, 1 = object | 0 = background], a box XYXY, the clicks it took."""

    points: Annotated[list[tuple[float, float, Literal[0, 1]]], Field(max_length=500)] = Field(default_factory=list)
    box: tuple[float, float, float, float] | None = None
    clicks: int = Field(0, ge=0, le=10_000)


class MaskDraft(Record):
    """A mask as its maker sends it. `active_ms`: all active time spent on it so far, idle time left out."""

    rle: RLE
    source: MaskSource
    prompts: Prompts | None = None
    suggestion: RLE | None = None
    """The model's mask before anybody brushed it: its IoU with `rle` says how much was left to do."""
    predicted_iou: float | None = Field(None, ge=-1, le=2)
    model: str | None = Field(None, max_length=128)
    active_ms: int = Field(0, ge=0, le=86_400_000)
    prominence: int = Field(0, ge=0, le=1_000_000)
    """Order of making: the paper asks for objects in the order of prominence."""
    group: bool = False
    """Stands for several objects that would be too hard to part."""


class Suggestion(Record):
    """A mask that stage 2 puts into a task: where it is from, and how sure detector and model are of it."""

    rle: RLE
    score: float
    """The detector's, 0..1: what the page's slider goes by."""
    predicted_iou: float
    stability_score: float
    prompts: Prompts
    """The detector's box or point, as the model was asked; no clicks."""
    model: str
    detector: str
    label: str


class ProbeRates(Record):
    """Share of the tasks in which a confident suggestion is withheld, and of those in which a bad one is planted."""

    withheld: float = Field(0.0, ge=0, le=1)
    planted: float = Field(0.0, ge=0, le=1)


class Prefilled(Record):
    """What was found in one image with one model (its id); `planted`: a bad suggestion that looks like a good one.

    `failed`: why nothing was; then people start from nothing.
    """

    image_id: int
    model: str
    suggestions: list[Suggestion] = Field(default_factory=list)
    planted: Suggestion | None = None
    failed: str | None = None


class AnnotatedMask(MaskDraft):
    """A mask as the store holds it. `bbox` is XYWH with max - min, as everywhere in the engine."""

    id: str
    task_id: int
    author: int
    bbox: list[float]
    area: int
    locked: bool
    score: float | None
    revision: int
    state: Literal["live", "deleted"]
    verdict: Literal["accept", "reject", "fixed"] | None = None


class Redaction(Record):
    """A box that is hidden before pixels leave, XYXY in the annotation frame; people correct the detectors'."""

    id: Annotated[str, Field(min_length=1, max_length=64)]
    kind: Literal["face", "plate", "other"]
    box: tuple[float, float, float, float]
    state: Literal["live", "deleted"] = "live"


class MaskVerdict(Record):
    id: Uuid
    verdict: Literal["accept", "reject", "fixed"]
    reason: Reason | None = None


class Review(Record):
    verdict: Literal["accept", "reject"]
    reason: Reason | None = None
    masks: Annotated[list[MaskVerdict], Field(max_length=10_000)] = Field(default_factory=list)


class TaskImage(Record):
    """An image of the store: `width` and `height` of the annotation frame, and where its bytes come from."""

    id: int
    name: str
    width: int
    height: int
    original_width: int
    original_height: int
    source: str
    path: str
    sha256: str
    redactions: list[Redaction]


class AnnotationModel(Record):
    """A model that annotators use. `encoder` names its encoder's weights: embeddings of another don't fit."""

    id: str
    name: str
    encoder: str
    input_size: int
    embedding_size: int
    source: str
    """What `load_model` opens: a registry name or a file. The server's own decoder needs it."""
    mask_threshold: float = 0.0


class Task(Record):
    """One pass of one person over one image, with what the store holds for it."""

    id: int
    kind: LeaseKind
    stage: str
    pass_: int = Field(serialization_alias="pass")
    purpose: Literal["first", "rework", "overlap"]
    state: TaskState
    lease: str | None
    fence: int
    expires_at: int | None
    annotator: int | None
    exhaustive: bool | None
    encoder: str | None
    """Encoder of the model that was promoted when the lease was given; its holder finishes on it."""
    model: AnnotationModel | None
    """That model; None for a task that nobody ever had."""
    image: TaskImage
    masks: list[AnnotatedMask]
    review: dict[str, Any] | None


class EmptyQueue(Record):
    """Why nobody got a task: `code` is none, done, leased, no_embedding, yours_only, cap_reached."""

    code: Literal["none", "done", "leased", "no_embedding", "yours_only", "cap_reached"]
    message: str
    counts: dict[str, int]


class Claim(Record):
    """What a claim brought: the task's id with its lease, or why there is none."""

    task_id: int | None
    lease: str | None = None
    fence: int = 0
    expires_at: int = 0
    empty: EmptyQueue | None = None
