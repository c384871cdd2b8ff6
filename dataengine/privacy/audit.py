"""The audit of the blur: is the detail inside the boxes really gone?

Compares the released picture with the original one, so it can only run where both are: in tests and in
`evaluate privacy`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np

from schemas import Box

MOST_DETAIL = 0.25
"""A box passes when at most this share of its fine contrast is left ..."""
NOISE = 2.5
"""... or less than this many grey levels of it, which is what JPEG leaves on an even surface."""
MOST_LIKENESS = 0.35
"""Correlation with the original's detail from which on contrast counts as the original's."""


def detail_left(
    original: np.ndarray, released: np.ndarray, box: Box, original_size: tuple[int, int] | None = None
) -> float:
    """Fine contrast inside `box` of the released picture as a share of the original's; 0 = none is left.

    Both pictures are uint8 RGB (H, W, 3) in the release frame (resize the original first); `box` is in the
    original frame, `original_size` its (height, width), by default the pictures' own size. Fine means
    smaller than a 16th of the box: eyes, mouth, letters. Detail below 2.5 grey levels counts as none.
    """
    before, after = _fine(original, box, original_size), _fine(released, box, original_size)
    if before is None or after is None or float(after.std()) < NOISE:
        return 0.0
    return float(after.std() / max(float(before.std()), NOISE))


def likeness(
    original: np.ndarray, released: np.ndarray, box: Box, original_size: tuple[int, int] | None = None
) -> float:
    """Correlation (-1..1) of the fine detail inside `box` before and after; 0 where either has none."""
    before, after = _fine(original, box, original_size), _fine(released, box, original_size)
    if before is None or after is None or before.std() < NOISE or after.std() < 1e-6:
        return 0.0
    return float(np.corrcoef(before.ravel(), after.ravel())[0, 1])


def blurred_share(
    original: np.ndarray,
    released: np.ndarray,
    boxes: Sequence[Box],
    original_size: tuple[int, int] | None = None,
) -> float:
    """Share (0..1) of `boxes` whose detail is gone from `released`; 1.0 when there is no box.

    Frames as in `detail_left`. A box fails when more than a quarter of its fine contrast is left and looks
    like the original's.
    """
    if not boxes:
        return 1.0
    passed = [
        detail_left(original, released, box, original_size) <= MOST_DETAIL
        and (
            detail_left(original, released, box, original_size) == 0.0
            or likeness(original, released, box, original_size) < MOST_LIKENESS
        )
        for box in boxes
    ]
    return sum(passed) / len(boxes)


def _fine(picture: np.ndarray, box: Box, original_size: tuple[int, int] | None) -> np.ndarray | None:
    """Grey high-pass of the box's pixels, float32 (h, w); None when the box shows no pixel."""
    height, width = picture.shape[:2]
    full_height, full_width = original_size or (height, width)
    # Whole pixels inside the box only: a pixel on its edge may show what lies outside.
    x0, x1 = (
        math.ceil(max(0.0, box.x0) * width / full_width),
        math.floor(min(box.x1, full_width) * width / full_width),
    )
    y0 = math.ceil(max(0.0, box.y0) * height / full_height)
    y1 = math.floor(min(box.y1, full_height) * height / full_height)
    if x1 - x0 < 1 or y1 - y0 < 1:
        return None
    grey = cv2.cvtColor(np.ascontiguousarray(picture[y0:y1, x0:x1]), cv2.COLOR_RGB2GRAY).astype(np.float32)
    sigma = max(1.0, max(x1 - x0, y1 - y0) / 32)
    return grey - cv2.GaussianBlur(grey, (0, 0), sigma, borderType=cv2.BORDER_REFLECT)
