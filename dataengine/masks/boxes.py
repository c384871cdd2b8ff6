"""Boxes of masks, in the convention of the public code and of the released SA-1B files.

XYXY boxes here hold *inclusive* pixel indices: one pixel at (5, 7) has the box [5, 7, 5, 7]. Widths
and areas are max - min without + 1, so that pixel has width, height and area 0. COCO tools add 1;
only the COCO export does the same.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

CROP_EDGE_TOLERANCE = 20.0
"""Pixels. Fixed in the public code, whatever the size of the image."""


def box_of_mask(mask: np.ndarray) -> tuple[int, int, int, int] | None:
    """XYXY box (inclusive) of a bool (H, W) mask in its own frame; None for a mask without a pixel."""
    rows = np.flatnonzero(mask.any(axis=1))
    if not len(rows):
        return None
    top, bottom = int(rows[0]), int(rows[-1])
    columns = np.flatnonzero(mask[top : bottom + 1].any(axis=0))
    return int(columns[0]), top, int(columns[-1]), bottom


def xyxy_to_xywh(box: Sequence[float] | np.ndarray) -> list[float]:
    """[x0, y0, x1, y1] -> [x, y, x1 - x0, y1 - y0] as floats; no + 1 (see the module's text)."""
    x0, y0, x1, y1 = (float(value) for value in box)
    return [x0, y0, x1 - x0, y1 - y0]


def box_area(boxes: np.ndarray) -> np.ndarray:
    """(N, 4) XYXY -> (N,) areas by max - min, in the dtype of the boxes."""
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def near_crop_edge(
    boxes: np.ndarray,
    crop_box: Sequence[int],
    image_size: tuple[int, int],
    tolerance: float = CROP_EDGE_TOLERANCE,
) -> np.ndarray:
    """True where a box comes within `tolerance` px of a side of the crop that is not a side of the image.

    Such a mask was probably cut off by the crop. `boxes` (N, 4) and `crop_box` are XYXY in the image
    frame, `image_size` is (height, width). Returns bool (N,). Source: `is_box_near_crop_edge` of the
    public code; paper B ("removed masks that touch the inner boundaries of the crops").
    """
    height, width = image_size
    sides = boxes.astype(np.float64)
    near_crop = np.abs(sides - np.asarray(crop_box, np.float64)) <= tolerance
    near_image = np.abs(sides - np.asarray([0, 0, width, height], np.float64)) <= tolerance
    return np.any(near_crop & ~near_image, axis=1)
