"""Intersection over union of masks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pycocotools import mask as coco

from schemas.records import RLE


def mask_iou(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Bool (N, H, W) and (M, H, W) of one frame -> float64 (N, M); two empty masks have IoU 0."""
    a = _flat(first).astype(np.float32)
    b = _flat(second).astype(np.float32)
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"masks of different frames: {first.shape[1:]} and {second.shape[1:]}")
    overlap = np.rint((a @ b.T).astype(np.float64))
    union = _flat(first).sum(1)[:, None] + _flat(second).sum(1) - overlap
    return np.divide(overlap, union, out=np.zeros_like(overlap), where=union > 0)


def rle_iou(first: Sequence[RLE], second: Sequence[RLE]) -> np.ndarray:
    """The same on encodings, without decoding them: N and M encodings -> float64 (N, M)."""
    if not first or not second:
        return np.zeros((len(first), len(second)))
    encoded = [[{"size": list(r.size), "counts": r.counts.encode("ascii")} for r in side] for side in (first, second)]
    return np.nan_to_num(np.asarray(coco.iou(encoded[0], encoded[1], [0] * len(second)), np.float64))


def _flat(masks: np.ndarray) -> np.ndarray:
    return masks.reshape(len(masks), masks.shape[1] * masks.shape[2])
