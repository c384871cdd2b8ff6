"""Records that pass between rooms and onto disk.

Coordinates are pixels, x to the right and y down, origin at the top-left corner of the named image:
the *original* frame (full size, after EXIF rotation) or the *release* frame (what the shard holds,
short side at most `shards.short_side`).
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

MASKS_PER_IMAGE = 65536
"""Mask id = image_id * MASKS_PER_IMAGE + index, so ids are unique over a whole dataset without a counter."""

ImageStatus = Literal["ok", "rejected", "duplicate"]


class Record(BaseModel):
    """Frozen; an unknown field is an error, so a record on disk never drifts from its schema silently."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class Box(Record):
    """A detector's box: XYXY, float pixels of the original frame, with the detector's score in 0..1."""

    x0: float
    y0: float
    x1: float
    y1: float
    score: float
    detector: str


class ImageRef(Record):
    """One planned input: what the listing knew about a file before anybody opened it."""

    image_id: int
    source: str
    path: str
    licence: str | None = None
    author: str | None = None
    source_url: str | None = None
    caption: str | None = None


class ImageRecord(ImageRef):
    """A catalog row. Every input has exactly one, also when it was rejected: `status` and `reason` say why."""

    status: ImageStatus
    reason: str | None = None
    duplicate_of: int | None = None
    sha256: str | None = None
    bytes: int | None = None
    format: str | None = None
    width: int | None = None
    """Of the original frame, after EXIF rotation."""
    height: int | None = None
    perceptual_hash: str | None = None
    """`dataengine.catalog.likeness`: near for copies that aren't the same bytes."""
    faces: list[Box] = Field(default_factory=list)
    plates: list[Box] = Field(default_factory=list)
    detectors: list[str] = Field(default_factory=list)
    """Model ids of every detector that looked at the image; empty when privacy was off."""


class RLE(Record):
    """COCO's compressed run-length encoding: column-major counts as a utf-8 string; `size` is [height, width]."""

    size: list[int]
    counts: str


class MaskRecord(Record):
    """One annotation, with exactly the fields of SA-1B's JSON, in the release frame.

    `bbox` is XYWH with max - min (no +1), as in the released SA-1B files; `crop_box` is XYWH;
    `point_coords` is the one prompt point [[x, y]].
    """

    id: int
    segmentation: RLE
    bbox: list[float]
    area: int
    predicted_iou: float
    stability_score: float
    crop_box: list[float]
    point_coords: list[list[float]]


class ReleaseImage(Record):
    """SA-1B's `image` block."""

    image_id: int
    width: int
    height: int
    file_name: str


class SampleRecord(Record):
    """The JSON beside each image in a shard: SA-1B's file, field for field."""

    image: ReleaseImage
    annotations: list[MaskRecord]


class ShardPlan(Record):
    """One output shard: its number and, for each image in order, the catalog part that describes it."""

    shard: int
    image_ids: list[int]
    parts: list[int]

    @property
    def name(self) -> str:
        return f"sa_{self.shard:06d}"


class StoredObject(Record):
    """A finished object of the home: its path relative to the home, its size and its hash."""

    path: str
    bytes: int
    sha256: str


class CommitRecord(Record):
    """Written last, so it means "done": what a unit of work read, under which fingerprint, and what it made."""

    workflow: str
    unit: str
    inputs: str
    """sha256 over the unit's inputs (its plan row)."""
    fingerprint: str
    objects: list[StoredObject]
    counts: dict[str, int]
    seconds: float
    owner_epoch: int
    at: float | None = None
    """When it was written, in seconds since 1970; None of records that older versions wrote."""


class CheckpointCard(Record):
    """What a checkpoint is, where it came from and how good it is; lies beside the weights as JSON."""

    name: str
    architecture: str
    sha256: str
    licence: str
    description: str
    image_size: int
    embedding_size: int
    parameters: int
    pred_iou_thresh: float
    stability_score_thresh: float
    parents: list[str] = Field(default_factory=list)
    data: list[str] = Field(default_factory=list)
    metrics: dict[str, float] = Field(default_factory=dict)
    verdict: str | None = None
    clip: str | None = None
    """The CLIP, by name or folder, whose embeddings the text token takes; empty = trained without text."""
    extra: dict[str, Any] = Field(default_factory=dict)
