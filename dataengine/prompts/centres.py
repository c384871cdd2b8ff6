"""The innermost pixel of a region, by distance transform: deterministic clicks for evaluation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import cv2
import numpy as np


class ErrorCentre(NamedTuple):
    """A correcting click: xy pixels; `label` 1 = it adds what is missing, 0 = it takes away what is too much."""

    x: int
    y: int
    label: int


def centre_point(mask: np.ndarray) -> tuple[int, int]:
    """(x, y) of the pixel of a bool (H, W) mask that is farthest from everything outside (paper D.1).

    Exact Euclidean distance to the nearest pixel that is not in the mask. What lies beyond the image's
    border counts as outside: an object cut off by the border is clicked in the middle of what is seen,
    not on the border. Ties: the topmost, then the leftmost. Raises ValueError for an empty mask.
    """
    depth, x, y = _innermost(mask)
    if not depth:
        raise ValueError("an empty mask has no centre")
    return x, y


def centre_points(masks: np.ndarray) -> np.ndarray:
    """`centre_point` of each of bool (B, H, W): float32 (B, 2) xy."""
    return np.asarray([centre_point(mask) for mask in masks], np.float32).reshape(-1, 2)


def error_centre(truth: np.ndarray, predicted: np.ndarray, clicked: Sequence[tuple[int, int]] = ()) -> ErrorCentre:
    """The next click on bool (H, W) masks: the centre of the largest error (paper D.1; RITM's protocol).

    Largest by depth, as in RITM: the distance transforms of what is missing and of what is too much are
    compared, not the areas; at equal depth the click takes away (label 0). `clicked` pixels (x, y) are
    not clicked again, though they stay part of the region they lie in. Without an error left to click:
    the centre of the mask, label 1, which tells the model nothing new.
    Raises ValueError when both masks are empty.
    """
    missing = _innermost(truth & ~predicted, clicked)
    extra = _innermost(predicted & ~truth, clicked)
    if not missing[0] and not extra[0]:
        x, y = centre_point(truth)
        return ErrorCentre(x, y, 1)
    if missing[0] > extra[0]:
        return ErrorCentre(missing[1], missing[2], 1)
    return ErrorCentre(extra[1], extra[2], 0)


def _innermost(region: np.ndarray, clicked: Sequence[tuple[int, int]] = ()) -> tuple[float, int, int]:
    """(squared depth, x, y); 0 when nothing is left. Works in the region's box: farther out all is outside."""
    rows = np.flatnonzero(region.any(axis=1))
    if not len(rows):
        return 0.0, 0, 0
    top, bottom = int(rows[0]), int(rows[-1]) + 1
    columns = np.flatnonzero(region[top:bottom].any(axis=0))
    left, right = int(columns[0]), int(columns[-1]) + 1
    # One row or column of outside around it; where the box ends at the border, that is beyond the border.
    framed = np.pad(region[top:bottom, left:right], 1)
    depths = squared_distances(framed)[1:-1, 1:-1]
    for x, y in clicked:
        if left <= x < right and top <= y < bottom:
            depths[y - top, x - left] = 0
    at = int(np.argmax(depths))
    y, x = divmod(at, right - left)
    return float(depths[y, x]), left + x, top + y


def squared_distances(inside: np.ndarray) -> np.ndarray:
    """Of each pixel of bool (h, w) to the nearest one outside: whole numbers, float64 (h, w).

    Squares, since they are exact: what is as deep is equal, whatever the last bits of OpenCV's roots.
    """
    with _exact_roots():
        roots = cv2.distanceTransform(inside.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.asarray(np.rint(np.square(roots, dtype=np.float64)))


@contextmanager
def _exact_roots() -> Iterator[None]:
    """Without IPP, whose roots differ in the last bit with the memory's alignment.

    A rectangle's middle line is one long tie: the same mask was clicked now at its one end, now at the other, and
    the same training ended at another model.
    """
    before = cv2.ipp.useIPP()
    cv2.ipp.setUseIPP(False)
    try:
        yield
    finally:
        cv2.ipp.setUseIPP(before)
