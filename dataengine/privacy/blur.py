"""Hiding what is inside boxes, so that nothing brings it back.

A Gaussian blur can be undone in part (it is a linear filter; Wiener deconvolution restores letters). Here
the region is averaged into at most 4 x 4 cells, the means are cut to 16 levels, and a smooth surface is
drawn through them: what is left of a face or a plate is at most 192 bits, less than its description.

Everything is computed with integers, so that a shard has the same bytes on every machine.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from dataengine.privacy.policy import grow
from schemas import Box

CELLS = 4
"""Cells along the region's longer side, at most."""
CELL_PIXELS = 8
"""A cell is at least this wide: a region of 10 pixels becomes one colour, not 4 x 4 of its own pixels."""
LEVEL = 16
FEATHER = 0.12
"""Width of the soft rim outside the hidden box, as a share of its shorter side."""
_ONE = 1024


def hide(pixels_release: np.ndarray, boxes: Sequence[Box], original_size: tuple[int, int]) -> np.ndarray:
    """A copy of the picture with every box hidden.

    `pixels_release` is uint8 RGB (H, W, 3) in the release frame, `boxes` are in the original frame, whose
    (height, width) is `original_size`. Every pixel of the boxes, grown by the policy, is replaced; a rounded
    soft rim outside them joins the surroundings. Boxes outside the picture are ignored. Deterministic.
    """
    out = pixels_release.copy()
    height, width = out.shape[:2]
    scale_y, scale_x = height / original_size[0], width / original_size[1]
    for box in grow(boxes, *original_size):
        x0, x1 = _whole(box.x0 * scale_x, box.x1 * scale_x, width)
        y0, y1 = _whole(box.y0 * scale_y, box.y1 * scale_y, height)
        _hide_rectangle(pixels_release, out, x0, y0, x1, y1)
    return out


def _whole(low: float, high: float, limit: int) -> tuple[int, int]:
    """Whole pixels that contain low..high. One more on each side: resampling smears the edge outwards."""
    return max(0, math.floor(low) - 1), min(limit, math.ceil(high) + 1)


def _hide_rectangle(source: np.ndarray, out: np.ndarray, x0: int, y0: int, x1: int, y1: int) -> None:
    """Hides `source`[y0:y1, x0:x1] in `out`, with a rim around it."""
    rim = max(1, round(FEATHER * min(x1 - x0, y1 - y0)))
    left, top = max(0, x0 - rim), max(0, y0 - rim)
    right, bottom = min(out.shape[1], x1 + rim), min(out.shape[0], y1 + rim)
    fill = _surface(source[top:bottom, left:right])
    share = _share(np.arange(top, bottom), np.arange(left, right), (x0, y0, x1, y1), rim)
    # Blended over `out`, not over `source`: the rim of one box must not bring back the inside of another.
    patch = out[top:bottom, left:right].astype(np.int32)
    blended = (fill * share + patch * (_ONE - share) + _ONE // 2) // _ONE
    out[top:bottom, left:right] = blended.astype(np.uint8)


def _surface(region: np.ndarray) -> np.ndarray:
    """A smooth surface through the region's cell means; int32 (h, w, 3) in 0..255."""
    height, width = region.shape[:2]
    longer = max(height, width)
    across = max(1, min(CELLS, longer // CELL_PIXELS))
    rows = max(1, min(across, round(across * height / longer)))
    columns = max(1, min(across, round(across * width / longer)))
    row_edges = np.arange(rows + 1) * height // rows
    column_edges = np.arange(columns + 1) * width // columns
    sums = np.add.reduceat(region.astype(np.int64), row_edges[:-1], axis=0)
    sums = np.add.reduceat(sums, column_edges[:-1], axis=1)
    counts = np.diff(row_edges)[:, None] * np.diff(column_edges)[None, :]
    means = sums // counts[:, :, None]
    means = means // LEVEL * LEVEL + LEVEL // 2
    down, along = _spline(height, rows), _spline(width, columns)
    tall = np.einsum("yr,rcd->ycd", down, means)
    surface = np.einsum("xc,ycd->yxd", along, tall)
    return (surface // (_ONE * _ONE)).astype(np.int32)


def _spline(length: int, cells: int) -> np.ndarray:
    """Weights (length, cells), int64, each row adding up to 1024: a quadratic B-spline over the cells."""
    weights = np.zeros((length, cells), dtype=np.int64)
    position = (np.arange(length) + 0.5) * cells / length - 0.5
    nearest = np.floor(position + 0.5).astype(np.int64)
    d = position - nearest
    before = np.floor(0.5 * (0.5 - d) ** 2 * _ONE).astype(np.int64)
    after = np.floor(0.5 * (0.5 + d) ** 2 * _ONE).astype(np.int64)
    parts = ((-1, before), (0, _ONE - before - after), (1, after))
    for offset, part in parts:
        np.add.at(weights, (np.arange(length), (nearest + offset).clip(0, cells - 1)), part)
    return weights


def _share(ys: np.ndarray, xs: np.ndarray, core: tuple[int, int, int, int], rim: int) -> np.ndarray:
    """How much of each pixel is replaced, int32 (h, w, 1) in 0..1024: all in `core`, none beyond the rim.

    The distance to the core is Euclidean, which rounds the corners.
    """
    x0, y0, x1, y1 = core
    dx = np.maximum(np.maximum(x0 - xs, xs - (x1 - 1)), 0)
    dy = np.maximum(np.maximum(y0 - ys, ys - (y1 - 1)), 0)
    t = (1.0 - np.sqrt((dx[None, :] ** 2 + dy[:, None] ** 2).astype(np.float64)) / (rim + 1)).clip(0.0, 1.0)
    return np.floor(t * t * (3.0 - 2.0 * t) * _ONE).astype(np.int32)[:, :, None]
