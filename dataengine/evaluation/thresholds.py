"""The thresholds of a retrained model: its scores mean something else than its parent's did.

A model that has learnt says higher predicted IoUs and makes smoother masks; under its parent's thresholds stage 3
would keep several times as many masks, better or not. So a model gets the thresholds at which the same share of masks
passes as passed its parent's: which ones they are is up to the model, how many is not.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from dataengine.automask.grids import point_grid
from dataengine.model.sam import Sam
from schemas.records import CheckpointCard

POINTS_PER_SIDE = 12
"""Points of the grid on each image: three masks of each, 432 an image."""
POINTS_AT_ONCE = 16
FEWEST = 20
"""Passing masks below which a share says nothing."""


@dataclass(frozen=True)
class GridScores:
    """What a model says of its masks for grids of points: float32 (N,) both."""

    predicted_iou: np.ndarray
    stability: np.ndarray

    def passing(self, predicted_iou: float, stability: float) -> tuple[int, int]:
        """How many masks pass the first filter (exclusive), and how many of these the second (inclusive)."""
        good = self.predicted_iou > predicted_iou
        return int(good.sum()), int((self.stability[good] >= stability).sum())


@dataclass(frozen=True)
class Thresholds:
    """For a model's card, with a sentence on where they come from."""

    pred_iou_thresh: float
    stability_score_thresh: float
    origin: str


def thresholds_like(parent: Sam, card: CheckpointCard, model: Sam, images: Sequence[np.ndarray]) -> Thresholds:
    """Thresholds for `model` at which as many masks pass on these RGB uint8 images as at `card`'s in `parent`.

    The parent's own where next to none of its masks pass.
    """
    before = grid_scores(parent, images)
    found = same_shares(before, card.pred_iou_thresh, card.stability_score_thresh, grid_scores(model, images))
    if found is None:
        return Thresholds(
            card.pred_iou_thresh,
            card.stability_score_thresh,
            f"those of {card.name}, at which next to no mask passes on {len(images)} held-out images",
        )
    good, stable = before.passing(card.pred_iou_thresh, card.stability_score_thresh)
    origin = (
        f"as many masks pass as at those of {card.name} ({card.pred_iou_thresh:g}, {card.stability_score_thresh:g}): "
        f"{good / len(before.predicted_iou):.1%} by predicted IoU, {stable / good:.1%} of these by stability, of grids "
        f"of points on {len(images)} held-out images"
    )
    return Thresholds(*found, origin)


def same_shares(
    before: GridScores, predicted_iou: float, stability: float, after: GridScores
) -> tuple[float, float] | None:
    """Predicted IoU and stability at which the same shares of `after` pass; None where too few of `before` do."""
    good, stable = before.passing(predicted_iou, stability)
    if stable < FEWEST:
        return None
    first = _threshold(after.predicted_iou, good / len(before.predicted_iou))
    second = _threshold(after.stability[after.predicted_iou > first], stable / good)
    return first, second


@torch.inference_mode()
def grid_scores(sam: Sam, images: Iterable[np.ndarray]) -> GridScores:
    """Scores of the three masks of every point of a grid on RGB uint8 (H, W, 3) images.

    Stability is taken from the low-resolution logits, of the image without its padding.
    """
    scores: list[tuple[torch.Tensor, torch.Tensor]] = []
    encoder, decoder = sam.prompt_encoder, sam.mask_decoder
    for pixels in images:
        embedding = sam.encode_images([pixels])
        height, width = sam.input_size(pixels.shape[0], pixels.shape[1])
        points = torch.as_tensor(point_grid(POINTS_PER_SIDE) * (width, height), dtype=torch.float32, device=sam.device)
        cell = sam.image_size / (4 * sam.embedding_size)
        rows, columns = round(height / cell), round(width / cell)
        for batch in points.split(POINTS_AT_ONCE):
            labels = torch.ones(len(batch), 1, dtype=torch.int64, device=sam.device)
            sparse, dense = encoder(batch[:, None], labels)
            logits, predicted = decoder(embedding, encoder.dense_positions(), sparse, dense, True)
            scores.append((predicted.float().flatten(), _stability(logits[..., :rows, :columns].float()).flatten()))
    if not scores:
        return GridScores(np.zeros(0, np.float32), np.zeros(0, np.float32))
    predicted, stability = (torch.cat(column).cpu().numpy() for column in zip(*scores, strict=True))
    return GridScores(predicted, stability)


def _stability(logits: torch.Tensor) -> torch.Tensor:
    """(..., H, W) -> (...): IoU of the masks at logits +1 and -1 (paper B); 0 where both are empty."""
    inner, outer = ((logits > level).sum(dim=(-2, -1)) for level in (1.0, -1.0))
    return inner / outer.clamp(min=1)


def _threshold(scores: np.ndarray, share: float) -> float:
    """The value that this share of the scores reaches, cut to three digits."""
    return math.floor(float(np.quantile(scores, 1 - share)) * 1000) / 1000
