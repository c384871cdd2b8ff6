"""Specks and holes: connected components smaller than a threshold (paper B, "Postprocessing")."""

from __future__ import annotations

import numpy as np

from dataengine.masks.boxes import box_of_mask
from dataengine.masks.packed import PackedMask

LEFT, TOP, _WIDTH, _HEIGHT, AREA = range(5)
"""Columns of OpenCV's statistics."""


def clean_mask(
    mask: PackedMask, frame: tuple[int, int], min_area: int, *, drop_small: bool = False
) -> tuple[PackedMask | None, bool]:
    """Fill holes, then remove islands, of fewer than `min_area` px (8-connectivity).

    `frame` is (height, width) of the image the mask lies in. The result equals the public code's,
    which labels the whole frame, but the work happens inside the mask's box grown by one pixel: all
    background outside of it is one or two components, whose size follows from the frame.

    Returns the mask and whether anything small was found in it. When every island is too small the
    largest stays, as in the public code (ties: the one whose box starts higher, then further left);
    with `drop_small` (paper B) the mask is gone: (None, True).
    """
    window, x, y = _grown(mask, frame, min_area)
    filled, had_holes = _fill_holes(window, x, y, frame, min_area)
    kept, had_islands = _remove_islands(filled, min_area, drop_small)
    if not had_holes and not had_islands:
        return mask, False
    box = box_of_mask(kept)
    if box is None:
        return None, True
    x0, y0, x1, y1 = box
    return PackedMask.pack(kept[y0 : y1 + 1, x0 : x1 + 1], x + x0, y + y0), True


def _grown(mask: PackedMask, frame: tuple[int, int], min_area: int) -> tuple[np.ndarray, int, int]:
    """The mask inside its box grown by one pixel where the frame has room, and that window's corner."""
    x0, y0 = max(mask.x - 1, 0), max(mask.y - 1, 0)
    x1, y1 = min(mask.x + mask.width + 1, frame[1]), min(mask.y + mask.height + 1, frame[0])
    # Outside pixels fewer than that could be part of a hole: then the window is the frame.
    beyond = (y0 * frame[1], (frame[0] - y1) * frame[1], x0 * frame[0], (frame[1] - x1) * frame[0])
    if any(0 < pixels < min_area for pixels in beyond):
        x0, y0, x1, y1 = 0, 0, frame[1], frame[0]
    window = np.zeros((y1 - y0, x1 - x0), bool)
    inner = window[mask.y - y0 :, mask.x - x0 :]
    inner[: mask.height, : mask.width] = mask.pixels()
    return window, x0, y0


def _components(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Labels int32 (H, W) with 0 = False, and the statistics (5 columns) of the components 1, 2, ..."""
    import cv2  # here, because it takes 34 MB of those who clean nothing

    _, labels, stats, _ = cv2.connectedComponentsWithStats(pixels.astype(np.uint8), connectivity=8)
    return labels, stats[1:]


def _fill_holes(window: np.ndarray, x: int, y: int, frame: tuple[int, int], min_area: int) -> tuple[np.ndarray, bool]:
    labels, stats = _components(~window)
    sizes = stats[:, AREA].astype(np.int64)
    _add_outside(sizes, labels, x, y, frame)
    small = np.flatnonzero(sizes < min_area) + 1
    if not len(small):
        return window, False
    return window | np.isin(labels, small), True


def _add_outside(sizes: np.ndarray, labels: np.ndarray, x: int, y: int, frame: tuple[int, int]) -> None:
    """Add to each background component the part of it that lies outside the window.

    Where the window ends before the frame does, its outermost row or column is all background, hence
    one component, and what lies beyond belongs to it. Two opposite open sides alone leave two
    separate outsides; any other combination is connected around a corner.
    """
    height, width = frame
    h, w = labels.shape
    above, below = y * width, (height - y - h) * width
    left, right = x * height, (width - x - w) * height
    if not left and not right:
        if above:
            sizes[labels[0, 0] - 1] += above
        if below:
            sizes[labels[-1, 0] - 1] += below
    elif not above and not below:
        if left:
            sizes[labels[0, 0] - 1] += left
        if right:
            sizes[labels[0, -1] - 1] += right
    else:
        corner = (0 if above else -1, 0 if left else -1)
        sizes[labels[corner] - 1] += height * width - h * w


def _remove_islands(window: np.ndarray, min_area: int, drop_small: bool) -> tuple[np.ndarray, bool]:
    labels, stats = _components(window)
    sizes = stats[:, AREA]
    large = np.flatnonzero(sizes >= min_area)
    if len(large) == len(sizes):
        return window, False
    if not len(large) and drop_small:
        return np.zeros_like(window), True
    if not len(large):
        order = np.lexsort((stats[:, LEFT], stats[:, TOP], -sizes.astype(np.int64)))
        large = order[:1]
    return np.isin(labels, large + 1), True
