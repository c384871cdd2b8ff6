"""One labelled image, and what it is called."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from schemas import RLE

MAX_MEGAPIXELS = 300.0


@dataclass(frozen=True)
class LabelledMask:
    """One object: its annotation's id, unique in its set, and its mask in the frame of the image."""

    id: int
    rle: RLE


@dataclass(frozen=True)
class LabelledImage:
    """`pixels` uint8 RGB (H, W, 3); every mask is of that size and not empty."""

    name: str
    pixels: np.ndarray
    masks: list[LabelledMask]
