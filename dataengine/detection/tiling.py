"""Looking at a big picture through windows of bounded size, at several scales.

A network that was trained on 640-pixel pictures misses a face of 30 pixels in a 5000-pixel one: it has to
be shown parts of the picture, enlarged or at full size. Windows bound memory whatever the picture's size;
they overlap, so that what lies on one window's edge lies whole in its neighbour.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import cv2
import numpy as np

Look = Callable[[np.ndarray], np.ndarray]
"""uint8 RGB (H, W, 3) -> float (N, 5): x0, y0, x1, y1 in that picture's pixels, and a score in 0..1."""


@dataclass(frozen=True)
class View:
    """A rectangle of the picture, XYXY whole pixels, and the size (width, height) it is shown at."""

    x0: int
    y0: int
    x1: int
    y1: int
    width: int
    height: int

    def cut(self, pixels: np.ndarray) -> np.ndarray:
        """The view's pixels, uint8 (height, width, 3), resized from `pixels` (H, W, 3)."""
        crop = pixels[self.y0 : self.y1, self.x0 : self.x1]
        if crop.shape[:2] == (self.height, self.width):
            return np.ascontiguousarray(crop)
        shrinks = self.width < self.x1 - self.x0
        # Area averaging, because a plate's letters alias into nothing when single pixels are picked.
        method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        return cv2.resize(crop, (self.width, self.height), interpolation=method)

    def to_picture(self, found: np.ndarray) -> np.ndarray:
        """Boxes (N, 5) of the view's frame in the picture's frame."""
        out = np.array(found, dtype=np.float64, copy=True).reshape(-1, 5)
        out[:, [0, 2]] = out[:, [0, 2]] * (self.x1 - self.x0) / self.width + self.x0
        out[:, [1, 3]] = out[:, [1, 3]] * (self.y1 - self.y0) / self.height + self.y0
        return out


def views_at(height: int, width: int, scale: float, window: tuple[int, int], overlap: int) -> list[View]:
    """Windows that cover a (height, width) picture shown at `scale`.

    `window` is the largest (height, width) of a view as shown; neighbours share at least `overlap` shown
    pixels. One view when the scaled picture fits the window.
    """
    rows = _spans(height, scale, window[0], overlap)
    columns = _spans(width, scale, window[1], overlap)
    return [
        View(x0, y0, x1, y1, max(1, round((x1 - x0) * scale)), max(1, round((y1 - y0) * scale)))
        for y0, y1 in rows
        for x0, x1 in columns
    ]


def fit_scale(height: int, width: int, window: tuple[int, int], tiles: int, overlap: int) -> float:
    """The scale at which the picture is `tiles` windows along the side that needs most, and fewer along the
    other.

    `tiles` = 1 shows the whole picture in one window. May enlarge: the caller caps it.
    """
    reach_h = tiles * window[0] - (tiles - 1) * overlap
    reach_w = tiles * window[1] - (tiles - 1) * overlap
    return min(reach_h / height, reach_w / width)


def scan(pixels: np.ndarray, views: Iterable[View], look: Look) -> np.ndarray:
    """Runs `look` on every view; returns boxes (N, 5) in the picture's frame, clipped to it, unmerged."""
    height, width = pixels.shape[:2]
    found = [view.to_picture(look(view.cut(pixels))) for view in views]
    boxes = np.concatenate(found) if found else np.zeros((0, 5))
    boxes[:, [0, 2]] = boxes[:, [0, 2]].clip(0, width)
    boxes[:, [1, 3]] = boxes[:, [1, 3]].clip(0, height)
    return boxes[(boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])]


def _spans(length: int, scale: float, window: int, overlap: int) -> list[tuple[int, int]]:
    """Evenly spaced (start, end) of the windows along one side, in the picture's pixels."""
    shown = length * scale
    if shown <= window + 1e-6:
        return [(0, length)]
    count = math.ceil((shown - overlap) / (window - overlap) - 1e-9)
    size = min(length, math.floor(window / scale))
    starts = np.linspace(0, length - size, count).round().astype(int)
    return [(int(start), int(start) + size) for start in starts]
