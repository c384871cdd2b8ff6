"""Grids of prompt points in the unit square."""

from __future__ import annotations

import numpy as np


def point_grid(points_per_side: int) -> np.ndarray:
    """float64 (n * n, 2) xy: the centres of n x n equal cells of the unit square, row by row."""
    offset = 1 / (2 * points_per_side)
    one_side = np.linspace(offset, 1 - offset, points_per_side)
    x, y = np.meshgrid(one_side, one_side)
    return np.stack([x, y], axis=-1).reshape(-1, 2)


def layer_grids(points_per_side: int, layers: int, downscale: int) -> list[np.ndarray]:
    """One grid for the image and one per crop layer, each `downscale` times coarser; at least one point."""
    return [point_grid(max(1, int(points_per_side / downscale**layer))) for layer in range(layers + 1)]
