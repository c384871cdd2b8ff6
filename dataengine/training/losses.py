"""What training minimises: 20 focal + 1 dice of the best mask, and the error of its predicted IoU (paper A).

Definitions: focal loss with alpha .25 and gamma 2 as in RetinaNet (Lin et al. 2017, arXiv 1708.02002), taken over
by DETR's segmentation head, whose focal-plus-dice mixture the paper cites; dice smoothed by 1 as there. sam2's
public training code has the same two. Masks over 90 % of the image never come here: `examples.py` discards them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional

from schemas.training import LossWeights

ALPHA = 0.25
GAMMA = 2.0


@dataclass(frozen=True)
class MaskLosses:
    """Losses of B objects with K masks each; all (B,), and only `total` carries gradients to use.

    `chosen` int64 is the mask whose loss counts; `iou` is the squared error of the predicted IoU;
    `true_iou` (B, K) belongs to the masks at threshold 0, `best_iou` is that of the chosen one.
    """

    total: torch.Tensor
    mask: torch.Tensor
    iou: torch.Tensor
    chosen: torch.Tensor
    true_iou: torch.Tensor

    @property
    def best_iou(self) -> torch.Tensor:
        return self.true_iou.gather(1, self.chosen[:, None])[:, 0]


def mask_losses(
    logits: torch.Tensor, predicted_iou: torch.Tensor, truth: torch.Tensor, weights: LossWeights
) -> MaskLosses:
    """Logits (B, K, H, W) and predicted IoU (B, K) against bool (B, H, W).

    Of the K masks of an ambiguous prompt only the one with the smallest combined mask loss is taught
    (minimum over the three, paper A), and its predicted IoU; with `supervise_all_iou` the squared
    errors of all K are averaged instead (SAM 2). Computed in float32 whatever autocast says.
    """
    logits, predicted_iou = logits.float(), predicted_iou.float()
    target = truth[:, None].float().expand_as(logits)
    combined = logits.new_zeros(predicted_iou.shape)
    if weights.focal:
        combined = combined + weights.focal * focal_loss(logits, target)
    if weights.dice:
        combined = combined + weights.dice * dice_loss(logits, target)
    if weights.balanced:
        combined = combined + weights.balanced * balanced_cross_entropy(logits, target)
    chosen = combined.argmin(dim=1)
    true_iou = iou_of_logits(logits, truth)
    squared = (predicted_iou - true_iou) ** 2
    mask = combined.gather(1, chosen[:, None])[:, 0]
    iou = squared.mean(dim=1) if weights.supervise_all_iou else squared.gather(1, chosen[:, None])[:, 0]
    return MaskLosses(mask + weights.iou * iou, mask.detach(), iou.detach(), chosen, true_iou)


def focal_loss(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """(..., H, W) both, target 0 or 1 -> (...): mean over pixels of alpha_t (1 - p_t)^gamma (-log p_t)."""
    entropy = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    probability = logits.sigmoid()
    right = probability * target + (1 - probability) * (1 - target)
    alpha = ALPHA * target + (1 - ALPHA) * (1 - target)
    return (alpha * (1 - right) ** GAMMA * entropy).mean(dim=(-2, -1))


def dice_loss(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """(..., H, W) both -> (...): 1 - (2 |p t| + 1) / (|p| + |t| + 1), sums over pixels."""
    probability = logits.sigmoid()
    overlap = (probability * target).sum(dim=(-2, -1))
    total = probability.sum(dim=(-2, -1)) + target.sum(dim=(-2, -1))
    return 1 - (2 * overlap + 1) / (total + 1)


def balanced_cross_entropy(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """(..., H, W) both -> (...): the mean over the mask and the mean over the background, averaged.

    Both count the same however small the object is, so saying "background" everywhere never pays.
    """
    entropy = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    inside = (entropy * target).sum(dim=(-2, -1)) / target.sum(dim=(-2, -1)).clamp(min=1)
    outside = (entropy * (1 - target)).sum(dim=(-2, -1)) / (1 - target).sum(dim=(-2, -1)).clamp(min=1)
    return (inside + outside) / 2


@torch.no_grad()
def iou_of_logits(logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Logits (B, K, H, W), thresholded at 0, against bool (B, H, W) -> float32 (B, K); empty ones of both give 0."""
    masks = logits > 0
    overlap = (masks & truth[:, None]).sum(dim=(-2, -1))
    union = (masks | truth[:, None]).sum(dim=(-2, -1))
    return overlap / union.clamp(min=1)
