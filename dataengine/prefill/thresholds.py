"""What counts as confident for one model."""

from __future__ import annotations

from dataclasses import dataclass

from schemas.config import PrefillConfig
from schemas.records import CheckpointCard


@dataclass(frozen=True)
class Thresholds:
    """Every question answered; see `schemas.config.PrefillConfig`."""

    score: float
    predicted_iou: float
    stability_score: float
    same_iou: float
    inside: float
    most: int


def thresholds_of(config: PrefillConfig, card: CheckpointCard) -> Thresholds:
    """What the config leaves open follows the checkpoint's card: SAM's .88 and .95 were tuned for ViT-H."""
    predicted, stability = config.pred_iou_thresh, config.stability_score_thresh
    return Thresholds(
        score=config.score,
        predicted_iou=card.pred_iou_thresh if predicted is None else predicted,
        stability_score=card.stability_score_thresh if stability is None else stability,
        same_iou=config.same_iou,
        inside=config.inside,
        most=config.most,
    )
