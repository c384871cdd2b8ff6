"""Is one sample what it claims to be? Pure functions on a record and its JPEG."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco

from dataengine.shards.jpeg_check import check_jpeg
from dataengine.shards.names import key_of
from dataengine.shards.rle_check import parse_runs
from schemas import MaskRecord, SampleRecord
from schemas.records import MASKS_PER_IMAGE

Floats = npt.NDArray[np.float64]
LISTED = 3
"""Masks that a problem names one by one; the rest is a number."""
_EPSILON = 1e-6


def check_sample(image_id: int, sample: SampleRecord, jpeg: bytes) -> list[str]:
    """Everything that can be wrong inside one sample, in words. Empty when it's sound.

    The record's fields and types are already right (`SampleRecord`); this is about their values: names and
    ids follow from `image_id`, the image block is the JPEG's size, and each mask agrees with its own numbers.
    """
    image = sample.image
    size, problems = check_jpeg(jpeg)
    if image.image_id != image_id:
        problems.append(f"image_id is {image.image_id}, its name says {image_id}")
    if image.file_name != f"{key_of(image_id)}.jpg":
        problems.append(f"file_name is {image.file_name!r}")
    if size is not None and size != (image.height, image.width):
        problems.append(f"image block says {image.width}x{image.height}, the JPEG is {size[1]}x{size[0]}")
    if image.height < 1 or image.width < 1:
        problems.append(f"image block says {image.width}x{image.height}")
    elif sample.annotations:
        problems += check_masks(image_id, image.height, image.width, sample.annotations)
    return problems


def check_masks(image_id: int, height: int, width: int, masks: list[MaskRecord]) -> list[str]:
    """Checks the masks of one image, all at once, against themselves and the image's size."""
    found = _Findings()
    ids = np.array([mask.id for mask in masks], dtype=object)
    found.add(ids != image_id * MASKS_PER_IMAGE + np.arange(len(masks)), "id is not image_id * 65536 + index")
    found.add([mask.segmentation.size != [height, width] for mask in masks], "size is not the image's")
    runs = parse_runs([mask.segmentation.counts for mask in masks], height * width)
    for fault in dict.fromkeys(filter(None, runs.faults)):
        found.add([other == fault for other in runs.faults], fault)
    sound = [i for i, fault in enumerate(runs.faults) if fault is None]
    _check_geometry(found, masks, sound, height, width)
    _check_numbers(found, masks, height, width)
    return found.problems


def _check_geometry(found: _Findings, masks: list[MaskRecord], sound: list[int], height: int, width: int) -> None:
    """`area` and `bbox` of the well-formed masks against what pycocotools makes of their RLE."""
    rles = [{"size": [height, width], "counts": masks[i].segmentation.counts.encode()} for i in sound]
    if not rles:
        return
    area = coco.area(rles).astype(np.int64)
    # pycocotools counts pixels (max - min + 1); SA-1B's files say max - min.
    box = coco.toBbox(rles) - np.array([0, 0, 1, 1])
    stored_area = np.array([masks[i].area for i in sound], dtype=object)
    stored_box = _quads([masks[i].bbox for i in sound])
    found.add(area == 0, "mask is empty", sound)
    found.add(area != stored_area, "area is not the mask's", sound)
    with np.errstate(invalid="ignore"):
        wrong = ~(np.abs(box - stored_box) <= _EPSILON).all(axis=1)
    found.add(wrong & (area > 0), "bbox is not the mask's (XYWH, max - min)", sound)


def _check_numbers(found: _Findings, masks: list[MaskRecord], height: int, width: int) -> None:
    """Scores, points and crop boxes. NaN fails every comparison, so it is found like any other value."""
    crop = _quads([mask.crop_box for mask in masks])
    x, y, w, h = crop.T
    inside = (x >= 0) & (y >= 0) & (w > 0) & (h > 0) & (x + w <= width + _EPSILON) & (y + h <= height + _EPSILON)
    found.add(~inside, "crop_box is not inside the image")
    points = [mask.point_coords[0] if len(mask.point_coords) == 1 else [] for mask in masks]
    point = np.array([pair if len(pair) == 2 else [np.nan, np.nan] for pair in points])
    inside = (point >= 0).all(axis=1) & (point[:, 0] < width) & (point[:, 1] < height)
    found.add(~inside, "point_coords is not one point inside the image")
    found.add(~np.isfinite([mask.predicted_iou for mask in masks]), "predicted_iou is not a number")
    stability = np.array([mask.stability_score for mask in masks])
    found.add(~((stability >= 0) & (stability <= 1)), "stability_score is not in 0..1")


def _quads(boxes: list[list[float]]) -> Floats:
    """[N, 4]; a box without four numbers is NaN."""
    return np.array([box if len(box) == 4 else [np.nan] * 4 for box in boxes], np.float64)


class _Findings:
    def __init__(self) -> None:
        self.problems: list[str] = []

    def add(self, wrong: npt.ArrayLike, what: str, index: list[int] | None = None) -> None:
        """One problem for all masks that share a fault. `index`: the masks that `wrong` is about."""
        at = np.flatnonzero(np.asarray(wrong, bool))
        if len(at) == 0:
            return
        numbers = [index[i] if index is not None else int(i) for i in at]
        named = ", ".join(str(number) for number in numbers[:LISTED])
        more = f" and {len(numbers) - LISTED} more" if len(numbers) > LISTED else ""
        self.problems.append(f"mask {named}{more}: {what}")
