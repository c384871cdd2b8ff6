"""A few labelled images to look at: some objects of each, one click on each, and what a model makes of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from dataengine.evaluation.clicking import Clicking
from dataengine.labelled import LabelledImage
from dataengine.masks.rle import decode, encode, rle_area
from dataengine.model.sam import Sam
from dataengine.prompts import centre_point
from schemas import RLE

MOST_OBJECTS = 6
MOST_SHARE = 0.9
"""Of the image: as in training, larger masks are no objects to click."""
MOST_OVERLAP = 0.3
"""Of a mask with those chosen before it: sets with several annotators have the same object many times."""


@dataclass(frozen=True)
class Shown:
    """One image: `truth` masks of its size, and the click at the centre of each, xy pixels."""

    image: LabelledImage
    truth: list[RLE]
    clicks: list[tuple[int, int]]


@dataclass(frozen=True)
class Predicted:
    """A model's most trusted mask for each click, and the mean IoU with the truth."""

    masks: list[RLE]
    miou: float


def choose_objects(image: LabelledImage) -> Shown:
    """The largest objects that don't lie on each other; always the same ones."""
    covered = np.zeros(image.pixels.shape[:2], bool)
    truth: list[RLE] = []
    clicks: list[tuple[int, int]] = []
    for mask in sorted(image.masks, key=lambda mask: (-rle_area(mask.rle), mask.id)):
        pixels = decode(mask.rle).astype(bool)
        area = int(pixels.sum())
        if area > MOST_SHARE * pixels.size or (pixels & covered).sum() > MOST_OVERLAP * area:
            continue
        covered |= pixels
        truth.append(mask.rle)
        clicks.append(centre_point(pixels))
        if len(truth) == MOST_OBJECTS:
            break
    return Shown(image, truth, clicks)


@torch.inference_mode()
def predict(sam: Sam, shown: Shown) -> Predicted:
    """One click at each object's centre, as `evaluate_single_point` clicks."""
    if not shown.truth:
        return Predicted([], 0.0)
    truth = np.stack([decode(rle) for rle in shown.truth]).astype(bool)
    clicking = Clicking(sam, sam.encode_images([shown.image.pixels]), truth)
    clicking.first()
    return Predicted(encode(clicking.masks), float(clicking.iou.mean()))
