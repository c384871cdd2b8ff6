"""Greedy non-maximum suppression of boxes."""

from __future__ import annotations

import numpy as np


def nms(boxes: np.ndarray, scores: np.ndarray, iou_threshold: float) -> np.ndarray:
    """Indices of the boxes that survive, best score first.

    `boxes` (N, 4) XYXY, `scores` (N,). A box goes when its IoU with a better one that stayed is
    *greater* than the threshold. Equal scores: the lower index is better; torchvision leaves that
    case to its version and device, and in the passes over crops and cleaned masks nearly all scores
    are equal. IoU is float32 on max - min areas, so a box of area 0 (a mask one pixel wide or high)
    neither suppresses nor is suppressed, as in the public code.
    """
    order = np.argsort(-np.asarray(scores), kind="stable")
    x0, y0, x1, y1 = np.asarray(boxes, np.float32)[order].T
    areas = (x1 - x0) * (y1 - y0)
    alive = np.arange(len(order))
    keep: list[int] = []
    with np.errstate(divide="ignore", invalid="ignore"):
        while len(alive):
            best, alive = alive[0], alive[1:]
            keep.append(int(order[best]))
            width = np.minimum(x1[best], x1[alive]) - np.maximum(x0[best], x0[alive])
            height = np.minimum(y1[best], y1[alive]) - np.maximum(y0[best], y0[alive])
            overlap = np.maximum(width, 0) * np.maximum(height, 0)
            iou = overlap / (areas[best] + areas[alive] - overlap)
            # As float64: the threshold must not be rounded to float32, 0.6 would become 0.60000002.
            alive = alive[~(iou.astype(np.float64) > iou_threshold)]
    return np.asarray(keep, np.int64)
