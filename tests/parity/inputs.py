"""What both sides are asked: one image and prompts of every kind, in the model's input frame."""

from __future__ import annotations

from typing import NamedTuple

import torch


class Prompt(NamedTuple):
    """B prompts, as `PromptEncoder` takes them: points (B, N, 2) xy, labels (B, N), boxes (B, 4) XYXY,
    masks (B, 1, 4e, 4e) logits."""

    points: torch.Tensor | None = None
    labels: torch.Tensor | None = None
    boxes: torch.Tensor | None = None
    masks: torch.Tensor | None = None


PROMPT_KINDS = ("point", "points", "box", "mask", "points and box", "point and mask", "points, box and mask")


def prompts(image_size: int, low_side: int, count: int = 3) -> dict[str, Prompt]:
    """`count` prompts of every kind for a model with this input side and this side of its logits."""
    draw = torch.Generator().manual_seed(7)
    point = torch.rand(count, 1, 2, generator=draw) * image_size
    points = torch.rand(count, 4, 2, generator=draw) * image_size
    labels = torch.tensor([[1, 0, 1, -1]]).expand(count, 4)
    boxes = torch.rand(count, 4, generator=draw) * image_size / 2
    boxes[:, 2:] += boxes[:, :2]
    masks = 5 * torch.randn(count, 1, low_side, low_side, generator=draw)
    one = torch.ones(count, 1, dtype=torch.int64)
    made = (
        Prompt(point, one),
        Prompt(points, labels),
        Prompt(boxes=boxes),
        Prompt(masks=masks),
        Prompt(points, labels, boxes),
        Prompt(point, one, masks=masks),
        Prompt(points, labels, boxes, masks),
    )
    return dict(zip(PROMPT_KINDS, made, strict=True))


def normalised_image(seed: int = 0) -> torch.Tensor:
    """Normalised pixels (1, 3, 1024, 1024) with the zero padding of a wide photo."""
    x = torch.randn(1, 3, 1024, 1024, generator=torch.Generator().manual_seed(seed))
    x[:, :, 683:] = 0
    return x
