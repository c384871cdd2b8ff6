"""Losses against values worked out by hand, and against the public formulas written out pixel by pixel."""

from __future__ import annotations

import math

import pytest
import torch

from dataengine.training.losses import (
    balanced_cross_entropy,
    dice_loss,
    focal_loss,
    iou_of_logits,
    mask_losses,
)
from schemas.training import LossWeights

LOG3 = math.log(3)
"""The logit of probability 3/4; -LOG3 that of 1/4."""


def pixels(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float32).reshape(2, 2)


def test_focal_loss_by_hand() -> None:
    # Probabilities 3/4, 1/4, 1/4, 1/2 for truths 1, 1, 0, 0.
    found = focal_loss(pixels(LOG3, -LOG3, -LOG3, 0.0), pixels(1, 1, 0, 0))
    by_hand = [
        0.25 * (1 / 4) ** 2 * math.log(4 / 3),  # right, sure: nearly nothing
        0.25 * (3 / 4) ** 2 * math.log(4),  # wrong, sure
        0.75 * (1 / 4) ** 2 * math.log(4 / 3),
        0.75 * (1 / 2) ** 2 * math.log(2),
    ]
    assert found.item() == pytest.approx(sum(by_hand) / 4, rel=1e-6)


def test_dice_loss_by_hand() -> None:
    # Sum of p over the mask 3/4 + 1/4, of p 7/4, of t 2: 1 - (2 * 1 + 1) / (7/4 + 2 + 1).
    found = dice_loss(pixels(LOG3, -LOG3, -LOG3, 0.0), pixels(1, 1, 0, 0))
    assert found.item() == pytest.approx(1 - 3 / 4.75, rel=1e-6)


def test_balanced_cross_entropy_counts_mask_and_background_alike() -> None:
    # One pixel of the mask at 3/4, three of the background at 1/4, 1/4, 1/2.
    found = balanced_cross_entropy(pixels(LOG3, -LOG3, -LOG3, 0.0), pixels(1, 0, 0, 0))
    inside, outside = math.log(4 / 3), (2 * math.log(4 / 3) + math.log(2)) / 3
    assert found.item() == pytest.approx((inside + outside) / 2, rel=1e-6)
    # The same pixels, the background nine times as large: unchanged.
    wide = torch.cat([torch.tensor([LOG3]), torch.tensor([-LOG3, -LOG3, 0.0]).repeat(9)]).reshape(4, 7)
    target = torch.zeros(4, 7)
    target[0, 0] = 1
    assert balanced_cross_entropy(wide, target).item() == pytest.approx(found.item(), rel=1e-6)


def sam2_focal(logit: float, truth: int, alpha: float = 0.25, gamma: float = 2.0) -> float:
    p = 1 / (1 + math.exp(-logit))
    p_t = p if truth else 1 - p
    return (alpha if truth else 1 - alpha) * (1 - p_t) ** gamma * -math.log(p_t)


def sam2_dice(logits: list[float], truths: list[int]) -> float:
    """Numerator and denominator as sam2's training code has them: by the L1 distance."""
    p = [1 / (1 + math.exp(-logit)) for logit in logits]
    denominator = sum(p) + sum(truths)
    numerator = denominator - sum(abs(a - b) for a, b in zip(p, truths, strict=True))
    return 1 - (numerator + 1) / (denominator + 1)


def test_focal_and_dice_equal_the_public_formulas() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 5, 6, generator=generator) * 4
    target = (torch.rand(3, 5, 6, generator=generator) > 0.6).float()
    for mask, truth, focal, dice in zip(
        logits, target, focal_loss(logits, target), dice_loss(logits, target), strict=True
    ):
        values, truths = mask.flatten().tolist(), truth.flatten().int().tolist()
        assert focal.item() == pytest.approx(sum(map(sam2_focal, values, truths)) / 30, rel=1e-5)
        assert dice.item() == pytest.approx(sam2_dice(values, truths), rel=1e-5)


def test_true_iou_is_of_the_thresholded_mask() -> None:
    truth = pixels(1, 1, 0, 0).bool()[None]
    logits = torch.stack([pixels(5, -5, 5, -5), pixels(0.1, 0.1, -0.1, 0.0), pixels(-1, -1, -1, -1)])[None]
    assert iou_of_logits(logits, truth).tolist() == [[pytest.approx(1 / 3), 1.0, 0.0]]


def three_masks() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A perfect, a half right and an inverted mask of two objects, in another order each; IoU 1, 1/3 and 0."""
    truth = torch.stack([pixels(1, 1, 0, 0), pixels(1, 0, 1, 0)]).bool()
    good = (truth.float() * 2 - 1) * 6
    half = torch.stack([pixels(6, -6, 6, -6), pixels(6, 6, -6, -6)])
    logits = torch.stack([good, half, -good], dim=1)
    logits[1] = logits[1, [2, 0, 1]]
    predicted = torch.tensor([[0.5, 0.5, 0.5], [0.9, 0.2, 0.1]])
    return logits.requires_grad_(), predicted.requires_grad_(), truth


def test_only_the_best_of_three_masks_learns() -> None:
    logits, predicted, truth = three_masks()
    losses = mask_losses(logits, predicted, truth, LossWeights())
    assert losses.chosen.tolist() == [0, 1] and losses.best_iou.tolist() == [1, 1]
    target = truth.float()
    best = torch.stack([logits[0, 0], logits[1, 1]])
    expected = 20 * focal_loss(best, target) + dice_loss(best, target)
    assert torch.allclose(losses.mask, expected)
    # Squared error of .5 and of .2 against a true IoU of 1.
    assert losses.iou.tolist() == pytest.approx([0.25, 0.64])
    assert torch.allclose(losses.total, expected + torch.tensor([0.25, 0.64]))
    losses.total.sum().backward()
    assert logits.grad is not None and predicted.grad is not None
    assert (logits.grad.abs().sum((2, 3)) > 0).tolist() == [[True, False, False], [False, True, False]]
    # d/dx (x - 1)^2: the true IoU is a constant, and the other predictions learn nothing.
    assert predicted.grad.flatten().tolist() == pytest.approx([-1.0, 0, 0, 0, -1.6, 0])


def test_all_predicted_ious_can_be_supervised() -> None:
    logits, predicted, truth = three_masks()
    losses = mask_losses(logits, predicted, truth, LossWeights(supervise_all_iou=True))
    assert losses.iou[0].item() == pytest.approx((0.25 + (0.5 - 1 / 3) ** 2 + 0.25) / 3)
    losses.total.sum().backward()
    assert predicted.grad is not None and (predicted.grad != 0).all()


def test_one_mask_is_its_own_best_and_weights_apply() -> None:
    logits, predicted, truth = three_masks()
    weights = LossWeights(focal=0, dice=2, balanced=3, iou=0.5)
    losses = mask_losses(logits[:, 2:], predicted[:, 2:], truth, weights)
    target = truth.float()
    mask = 2 * dice_loss(logits[:, 2], target) + 3 * balanced_cross_entropy(logits[:, 2], target)
    assert losses.chosen.tolist() == [0, 0]
    assert torch.allclose(losses.total, mask + 0.5 * losses.iou)
