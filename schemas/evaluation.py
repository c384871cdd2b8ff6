"""Results of `dataengine evaluate`, as its `--json` writes them."""

from __future__ import annotations

from schemas.records import Record


class SinglePointRecord(Record):
    """Single-point segmentation over a set of masks; the fields are exactly these."""

    images: int
    masks: int
    miou_top1: float
    """Mean over masks of the IoU of the mask with the highest predicted IoU of the three."""
    miou_best: float
    """Mean over masks of the highest IoU of the three ("oracle")."""
    clicks_85: float
    """Mean number of clicks to an IoU of 85 %; a mask that doesn't get there counts as 20."""
    clicks_90: float


class ComparisonRecord(Record):
    """A candidate beside another model on the same masks. `low` .. `high` is the interval of `difference`."""

    against: str
    sha256: str
    images: int
    masks: int
    candidate: float
    """mIoU of the candidate: a mean over masks."""
    other: float
    difference: float
    low: float
    high: float


class VerdictRecord(Record):
    """What the gate decided about a candidate, and why in one line."""

    promoted: bool
    why: str
    metric: str
    confidence: float
    resamples: int
    comparisons: list[ComparisonRecord]


class ScalingPoint(Record):
    """One model of `evaluate scaling`: trained on so many images, measured on the held-out ones."""

    fraction: float
    images: int
    miou_top1: float
    miou_best: float


class ScalingRecord(Record):
    """How a recipe's result grows with the data: nested fractions of one set, same start, same recipe, same seed."""

    data: str
    recipe: str
    model: str
    """Where each training starts."""
    steps: int
    held_out_images: int
    held_out_masks: int
    start: ScalingPoint
    """The model before training: fraction 0."""
    points: list[ScalingPoint]
