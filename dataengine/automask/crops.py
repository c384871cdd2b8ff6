"""Overlapping crops of an image, layer by layer (paper B, "Cropping"; the public code's geometry)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product

import numpy as np


@dataclass(frozen=True)
class Crop:
    """XYXY box, right and bottom exclusive, in whole pixels of the release frame; layer 0 is the image."""

    x0: int
    y0: int
    x1: int
    y1: int
    layer: int

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return self.y1 - self.y0, self.x1 - self.x0

    @property
    def box(self) -> tuple[int, int, int, int]:
        return self.x0, self.y0, self.x1, self.y1

    @property
    def area(self) -> int:
        return (self.x1 - self.x0) * (self.y1 - self.y0)

    def cut(self, pixels: np.ndarray, frame: tuple[int, int]) -> np.ndarray:
        """The crop's pixels from an original (H, W, 3) whose release frame is `frame` (height, width).

        Edges are scaled and rounded to whole original pixels; never empty. A view, not a copy.
        """
        down, across = pixels.shape[0] / frame[0], pixels.shape[1] / frame[1]
        top, left = math.floor(self.y0 * down + 0.5), math.floor(self.x0 * across + 0.5)
        bottom = max(top + 1, math.floor(self.y1 * down + 0.5))
        right = max(left + 1, math.floor(self.x1 * across + 0.5))
        return pixels[top:bottom, left:right]


def crop_boxes(size: tuple[int, int], layers: int, overlap_ratio: float = 512 / 1500) -> list[Crop]:
    """The image of (height, width) `size` itself, then 2^i x 2^i crops for layers i = 1..`layers`.

    x is the outer loop. Neighbours overlap by `overlap_ratio` of the short side, halved with each
    layer; the last crops are clipped to the image. On images of a few pixels the public code makes
    crops without any pixel; those are left out.
    """
    height, width = size
    crops = [Crop(0, 0, width, height, 0)]
    for layer in range(1, layers + 1):
        count = 2**layer
        overlap = int(overlap_ratio * min(height, width) * (2 / count))
        crop_width = _length(width, count, overlap)
        crop_height = _length(height, count, overlap)
        left = [(crop_width - overlap) * index for index in range(count)]
        top = [(crop_height - overlap) * index for index in range(count)]
        crops += [
            Crop(x, y, min(x + crop_width, width), min(y + crop_height, height), layer)
            for x, y in product(left, top)
            if x < width and y < height
        ]
    return crops


def _length(side: int, count: int, overlap: int) -> int:
    return math.ceil((overlap * (count - 1) + side) / count)
