"""How far a mask reaches, by its run lengths: its box and its convex hull, and no mask is built for it.

`lengths` int64 (R,) are column-major runs, background first, as COCO has them, in an image of `height` rows.
"""

from __future__ import annotations

import cv2
import numpy as np


def box_of_runs(lengths: np.ndarray, height: int) -> tuple[int, int, int, int]:
    """Inclusive XYXY of a mask that isn't empty."""
    left, top, right, bottom = _ends(lengths, height)
    if (right > left).any():  # such a run leaves a column below and enters the next one above
        return int(left[0]), 0, int(right[-1]), height - 1
    return int(left[0]), int(top.min()), int(right[-1]), int(bottom.max())


def hull_area(lengths: np.ndarray, height: int) -> float:
    """Area in pixels of the smallest convex shape that holds every pixel as a unit square; 0 for an empty mask.

    It is never smaller than the mask, and the same for a rectangle.
    """
    left, top, right, bottom = _ends(lengths, height)
    if not len(left):
        return 0.0
    # Of a run that goes on in other columns, also where it leaves its first one and enters the next, and the same
    # at its end: all else of it lies between.
    wraps = right > left
    first, last = left[wraps], right[wraps]
    columns = np.concatenate([left, right, first, first + 1, last - 1, last])
    above, below = np.zeros_like(first), np.full_like(first, height - 1)
    rows = np.concatenate([top, bottom, below, above, below, above])
    corners = [np.stack([columns + x, rows + y], axis=1) for x in (0, 1) for y in (0, 1)]
    return cv2.contourArea(cv2.convexHull(np.concatenate(corners).astype(np.int32)))


def _ends(lengths: np.ndarray, height: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Column and row of the first pixel of each run of foreground, column and row of the last."""
    ends = np.cumsum(lengths)
    first, last = ends[:-1:2], ends[1::2] - 1
    some = first <= last
    (left, top), (right, bottom) = (np.divmod(at[some], height) for at in (first, last))
    return left, top, right, bottom
