"""Masks and stabilities that differ: is it rounding? A pixel may change sides only where its logit is next to it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from dataengine.masks import decode
from schemas import MaskRecord
from tests.parity.public import segment_anything

OFFSET = 1.0
"""Stability is the mask's IoU at the threshold plus and minus that (the public generator's default)."""
FAR = 1e-2
"""A logit that must move by more of the mask's largest is not looked for: nobody would call it rounding."""


@torch.no_grad()
def needed_rounding(public: Any, pixels: np.ndarray, ours: MaskRecord, theirs: MaskRecord) -> float:
    """The least rounding that makes our mask and our stability out of the public logits.

    As a share of the mask's largest logit: 0 where nothing differs, infinite where `FAR` is not enough. `public` is
    segment-anything's model, `pixels` the RGB uint8 (H, W, 3) image that both masks of one prompt belong to.
    """
    crop = _crop_of(theirs)
    mask = decode(theirs.segmentation)[crop]
    logits = _logits(public, pixels, theirs, mask)
    largest = np.abs(logits).max()
    differing = decode(ours.segmentation)[crop] != mask
    moved = float(np.abs(logits)[differing].max(initial=0) / largest)
    return max(moved, rounding_of_stability(logits / largest, OFFSET / largest, ours.stability_score))


def rounding_of_stability(logits: np.ndarray, offset: float, stability: float) -> float:
    """The least change of logits (H, W), each by its own amount, with which `stability` is their stability.

    Infinite where `FAR` is not enough.
    """
    apart = [np.sort(np.abs(logits[np.abs(logits - level) <= FAR] - level)) for level in (offset, -offset)]
    for rounding in np.unique(np.concatenate([[0.0], *apart])):
        inner, union = (_areas(logits, level, rounding) for level in (offset, -offset))
        if _is_a_ratio(stability, inner, union):
            return float(rounding)
    return float("inf")


def _areas(logits: np.ndarray, level: float, rounding: float) -> range:
    """How many pixels may lie above the level once each logit has moved by at most `rounding`."""
    return range(np.count_nonzero(logits > level + rounding), np.count_nonzero(logits >= level - rounding) + 1)


def _is_a_ratio(stability: float, inner: range, union: range) -> bool:
    """Up to what float32 makes of a quotient."""
    possible = ((round(stability * whole), whole) for whole in union if whole)
    return any(part in inner and abs(part / whole - stability) < 1e-7 for part, whole in possible)


def _logits(public: Any, pixels: np.ndarray, record: MaskRecord, mask: np.ndarray) -> np.ndarray:
    """Of the record's prompt, at its crop's size: of three masks the one that is most like `mask`."""
    predictor = segment_anything().SamPredictor(public)
    predictor.set_image(pixels[_crop_of(record)])
    point = np.array(record.point_coords) - record.crop_box[:2]
    coords = torch.as_tensor(predictor.transform.apply_coords(point, predictor.original_size))
    labels = torch.ones(1, 1, dtype=torch.int64)
    found, _, _ = predictor.predict_torch(coords[None], labels, multimask_output=True, return_logits=True)
    logits = found[0].numpy().astype(np.float64) - public.mask_threshold
    return min(logits, key=lambda one: np.count_nonzero((one > 0) != mask))


def _crop_of(record: MaskRecord) -> tuple[slice, slice]:
    x, y, width, height = (round(value) for value in record.crop_box)
    return slice(y, y + height), slice(x, x + width)
