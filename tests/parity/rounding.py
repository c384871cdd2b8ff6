"""Masks that differ: is it rounding? A pixel may do so only where its logit is next to nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from dataengine.masks import decode
from schemas import MaskRecord
from tests.parity.public import segment_anything


@torch.no_grad()
def differing_logit(public: Any, pixels: np.ndarray, ours: MaskRecord, theirs: MaskRecord) -> float:
    """The largest public logit of the pixels in which two masks of one prompt differ, as a share of the mask's largest.

    `public` is segment-anything's model, `pixels` the RGB uint8 (H, W, 3) image that both masks belong to.
    """
    x, y, width, height = (round(value) for value in theirs.crop_box)
    crop = (slice(y, y + height), slice(x, x + width))
    predictor = segment_anything().SamPredictor(public)
    predictor.set_image(pixels[crop])
    point = np.array(theirs.point_coords) - (x, y)
    coords = torch.as_tensor(predictor.transform.apply_coords(point, predictor.original_size))
    labels = torch.ones(1, 1, dtype=torch.int64)
    found, _, _ = predictor.predict_torch(coords[None], labels, multimask_output=True, return_logits=True)
    mask, logits = decode(theirs.segmentation)[crop], found[0].numpy()
    chosen = min(logits, key=lambda one: np.count_nonzero((one > public.mask_threshold) != mask))
    differing = decode(ours.segmentation)[crop] != mask
    return float(np.abs(chosen - public.mask_threshold)[differing].max(initial=0) / np.abs(chosen).max())
