"""What a mask from outside must be before the store takes it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pycocotools import mask as coco

from dataengine.annotations.errors import InvalidError
from dataengine.shards.rle_check import parse_runs
from schemas import RLE

MAX_COUNTS = 1 << 20
"""Characters of one encoding. A photo's mask has some thousands; pure noise of 1500 x 2250 px would have millions."""


@dataclass(frozen=True)
class MaskFacts:
    """Box XYWH with max - min (as everywhere in the engine) and number of pixels, counted by us."""

    bbox: list[float]
    area: int


def check_rle(rle: RLE, width: int, height: int, what: str = "mask") -> MaskFacts:
    """Raises InvalidError unless `rle` is a well-formed, non-empty mask of exactly this frame.

    Nothing goes to pycocotools before its runs have been added up here: it believes what it is given.
    """
    if list(rle.size) != [height, width]:
        raise InvalidError("mask_size", f"{what}: size {list(rle.size)}, but the image is [{height}, {width}]")
    if len(rle.counts) > MAX_COUNTS:
        raise InvalidError("mask_too_long", f"{what}: {len(rle.counts)} characters, at most {MAX_COUNTS} are taken")
    runs = parse_runs([rle.counts], height * width)
    if runs.faults[0] is not None:
        raise InvalidError("mask_rle", f"{what}: {runs.faults[0]}")
    if np.any(runs.lengths[1:] == 0):
        raise InvalidError("mask_rle", f"{what}: RLE has an empty run; encode it as pycocotools does")
    encoded = {"size": [height, width], "counts": rle.counts.encode("ascii")}
    area = int(coco.area(encoded))
    if area == 0:
        raise InvalidError("mask_empty", f"{what}: has no pixel; delete it instead")
    x, y, w, h = (float(value) for value in coco.toBbox(encoded))
    return MaskFacts([x, y, w - 1, h - 1], area)
