"""Boxes as a person draws them: around the mask, but not exactly (paper A)."""

from __future__ import annotations

import torch

NOISE_SHARE = 0.1
"""Standard deviation of the noise on each coordinate, as a share of the box's side along it."""

NOISE_PIXELS = 20.0
"""No coordinate moves farther than this many pixels of the paper's input, which is 1024 px wide."""


def boxes_of_masks(masks: torch.Tensor) -> torch.Tensor:
    """Bool (B, H, W) -> float32 (B, 4) XYXY of inclusive pixel indices; an empty mask gives zeros."""
    low, high = zip(*(_extent(masks.any(dim=dim)) for dim in (1, 2)), strict=True)
    return torch.stack([*low, *high], dim=1).float()


def noisy_boxes(
    boxes: torch.Tensor,
    size: tuple[int, int],
    generator: torch.Generator,
    share: float = NOISE_SHARE,
    most: float = NOISE_PIXELS,
) -> torch.Tensor:
    """XYXY (B, 4) pixels of an image of `size` (height, width) -> the same with noise, inside the image.

    Normal noise with a standard deviation of `share` of the box's side (paper A), at most `most` px a
    coordinate: the noise itself is cut off there. sam2's public code draws it uniformly instead.
    Corners stay in order.
    """
    sides = (boxes[:, 2:] - boxes[:, :2] + 1).repeat(1, 2)
    normal = torch.randn(boxes.shape, generator=generator).to(boxes.device)
    moved = boxes + (normal * share * sides).clamp(-most, most)
    limit = boxes.new_tensor([size[1] - 1, size[0] - 1])
    corners = torch.minimum(moved.unflatten(1, (2, 2)).clamp(min=0), limit)
    return torch.cat([corners.amin(dim=1), corners.amax(dim=1)], dim=1)


def _extent(occupied: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Bool (B, N) -> the first and the last True of each row; 0 and 0 without one."""
    first = occupied.int().argmax(dim=1)
    last = occupied.shape[1] - 1 - occupied.flip(1).int().argmax(dim=1)
    return first, torch.where(occupied.any(dim=1), last, 0)
