"""Correcting clicks drawn from what is wrong, as training simulates a person (paper A)."""

from __future__ import annotations

import torch

from dataengine.prompts.points import uniform_points


def error_clicks(
    truth: torch.Tensor, predicted: torch.Tensor, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Bool (B, H, W) both -> float32 (B, 2) xy pixels of that frame, and int64 (B,) labels.

    Uniform over the error region, the pixels where the two differ: missing ones (false negatives) give
    label 1, extra ones (false positives) label 0. Where nothing is wrong the click is drawn from the
    background with label 0, as in sam2's public code, or from the mask with label 1 if that fills the
    frame: a label is always true.
    """
    points, wrong = uniform_points(truth ^ predicted, generator)
    # Drawn whether needed or not: how much randomness is used must not depend on the model.
    spare, background = uniform_points(~truth, generator)
    anywhere, _ = uniform_points(truth, generator)
    points = torch.where(wrong[:, None], points, torch.where(background[:, None], spare, anywhere))
    x, y = points.long().unbind(dim=1)
    labels = truth[torch.arange(len(truth), device=truth.device), y, x].long()
    return points, labels
