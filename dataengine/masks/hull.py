"""Convex hulls of masks, by their run lengths: no mask is built for it."""

from __future__ import annotations

import cv2
import numpy as np


def hull_area(lengths: np.ndarray, height: int) -> float:
    """Area in pixels of the smallest convex shape that holds every pixel as a unit square; 0 for an empty mask.

    `lengths` int64 (R,) are column-major runs, background first, as COCO has them, in an image of `height` rows.
    The area is never smaller than the mask's, and the same for a rectangle.
    """
    ends = np.cumsum(lengths)
    begins, stops = ends[:-1:2], ends[1::2]
    some = begins < stops
    if not some.any():
        return 0.0
    (left, top), (right, bottom) = np.divmod(begins[some], height), np.divmod(stops[some] - 1, height)
    # Of a run that goes on in other columns, also where it leaves its first one and enters the next, and the same
    # at its end: all else of it lies between.
    wraps = right > left
    first, last = left[wraps], right[wraps]
    columns = np.concatenate([left, right, first, first + 1, last - 1, last])
    above, below = np.zeros_like(first), np.full_like(first, height - 1)
    rows = np.concatenate([top, bottom, below, above, below, above])
    corners = [np.stack([columns + x, rows + y], axis=1) for x in (0, 1) for y in (0, 1)]
    return cv2.contourArea(cv2.convexHull(np.concatenate(corners).astype(np.int32)))
