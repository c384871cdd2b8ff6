"""A bad suggestion that looks like a good one: to see whether people look."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dataengine.masks import encode_boxed
from dataengine.masks.rle import decode
from dataengine.prefill.prompted import Candidate
from schemas import RLE

TRIES = 40
WORST_OVERLAP = 0.15
"""IoU with any candidate, also the unsure ones, above which the planted mask might be right."""


def planted_mask(confident: Sequence[Candidate], every: Sequence[Candidate], seed: int) -> tuple[Candidate, RLE] | None:
    """The outline of a confident mask, mirrored and moved to where the model sees no such object.

    Returns the candidate whose scores it borrows, and the mask; None when no place is found.
    """
    draw = np.random.default_rng(seed)
    for _ in range(TRIES if confident else 0):
        donor = confident[int(draw.integers(len(confident)))]
        height, width = donor.rle.size
        x0, y0, x1, y1 = donor.box
        shape = decode(donor.rle)[y0 : y1 + 1, x0 : x1 + 1][:, ::-1]
        h, w = shape.shape
        x, y = int(draw.integers(0, width - w + 1)), int(draw.integers(0, height - h + 1))
        overlaps = [_common_share((x, y, x + w - 1, y + h - 1), other.box) for other in every]
        if max(overlaps) <= WORST_OVERLAP:
            return donor, encode_boxed(shape, x, y, (height, width))
    return None


def _common_share(first: Sequence[int], second: Sequence[int]) -> float:
    """IoU of two inclusive boxes: masks in them rarely have a higher one, never where it is 0."""
    width = min(first[2], second[2]) - max(first[0], second[0]) + 1
    height = min(first[3], second[3]) - max(first[1], second[1]) + 1
    common = max(0, width) * max(0, height)
    areas = [(box[2] - box[0] + 1) * (box[3] - box[1] + 1) for box in (first, second)]
    return common / (areas[0] + areas[1] - common)
