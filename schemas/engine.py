"""What the whole loop writes down about its steps: what each started from, and what it came to."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from schemas.records import Record

Outcome = Literal["done", "ran out", "promoted", "kept", "skipped"]


class StepBegun(Record):
    """`units/engine/begun/<unit>.json`: written once, before a step does anything."""

    unit: str
    step: str
    model: str
    """The model in use then."""
    at: float
    """Seconds since 1970."""
    round: int | None = None
    """Number that the step's retraining round takes."""


class StepResult(Record):
    """`units/engine/results/<unit>.json`: what a finished step came to."""

    unit: str
    step: str
    stage: str | None
    outcome: Outcome
    why: str
    """One line for people."""
    model: str
    """The model in use after it."""
    begun: float
    seconds: float
    """Of its last attempt."""
    round: int | None = None
    snapshot: int | None = None
    figures: dict[str, float] = Field(default_factory=dict)
    """annotate: images, masks, masks_per_image accepted in the stage so far; made, seconds_per_mask, clicks_per_mask of
    what was drawn since the step began. retrain: miou_top1 and miou_best of the candidate, in_use of the model that it
    was measured against. generate: images, masks, masks_per_image. ingest: ok, rejected, duplicate. release:
    images, masks."""
