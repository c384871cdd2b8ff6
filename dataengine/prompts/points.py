"""A pixel drawn uniformly from a region, for a batch of regions."""

from __future__ import annotations

import torch


def uniform_points(regions: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Bool (B, H, W) -> float32 (B, 2) xy pixels of that frame, and bool (B,): whether there was one to draw.

    An empty region gives (0, 0) and False. One random number an object: its place among the region's
    pixels in row-major order, found through the row sums. The argmax of (B, H, W) noise, as in sam2's
    public code, gives the same distribution but holds a float a pixel. The same draws on every device.
    """
    batch, height, width = regions.shape
    if not batch:
        return regions.new_zeros((0, 2), dtype=torch.float32), regions.new_zeros(0)
    draws = torch.rand(batch, dtype=torch.float64, generator=generator).to(regions.device)
    through_rows = regions.sum(dim=2).cumsum(dim=1)
    areas = through_rows[:, -1]
    # Below 1 by the definition of rand, but u * area may round up to area.
    place = torch.minimum((draws * areas).long(), (areas - 1).clamp(min=0))[:, None]
    rows = torch.searchsorted(through_rows, place, right=True).clamp(max=height - 1)
    objects = torch.arange(batch, device=regions.device)[:, None]
    before = torch.where(rows > 0, through_rows[objects, (rows - 1).clamp(min=0)], 0)
    through_columns = regions[objects[:, 0], rows[:, 0]].long().cumsum(dim=1)
    columns = torch.searchsorted(through_columns, place - before, right=True).clamp(max=width - 1)
    present = areas > 0
    points = torch.cat([columns, rows], dim=1).float()
    return points * present[:, None], present
