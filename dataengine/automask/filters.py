"""Which candidates stay: NMS within a crop and across crops, cleaned regions, too large masks."""

from __future__ import annotations

import numpy as np

from dataengine.automask.candidates import Candidates
from dataengine.masks import clean_mask, near_crop_edge, nms
from schemas.config import AutomaskSettings


def within_limits(found: Candidates, frame: tuple[int, int], settings: AutomaskSettings) -> Candidates:
    """Share of the image, and inner edges of the crop; order kept. All rows are of one crop."""
    if not len(found):
        return found
    keep = ~_too_large(found, frame, settings)
    keep &= ~near_crop_edge(found.boxes, found.crops[0].box, frame)
    return found.take(np.flatnonzero(keep))


def best_within_crop(found: Candidates, settings: AutomaskSettings) -> Candidates:
    """Box NMS by predicted IoU; the result is sorted by it, ties in grid order."""
    return found.take(nms(found.boxes, found.predicted_iou, settings.box_nms_thresh))


def best_across_crops(found: Candidates, settings: AutomaskSettings) -> Candidates:
    """Box NMS that prefers the most zoomed view: the smaller crop first, ties in the order given."""
    scores = -np.array([crop.area for crop in found.crops], np.int64)
    return found.take(nms(found.boxes, scores, settings.crop_nms_thresh))


def without_specks(found: Candidates, frame: tuple[int, int], settings: AutomaskSettings) -> Candidates:
    """Fill holes, remove islands, then box NMS once more: unchanged masks first, ties in the order given.

    `predicted_iou` and `stability` stay what they were, as in the public code.
    """
    kept: list[int] = []
    changed: list[bool] = []
    masks, boxes = list(found.masks), found.boxes.copy()
    areas = found.areas.copy()
    for index, mask in enumerate(found.masks):
        cleaned, touched = clean_mask(mask, frame, settings.min_mask_region_area, drop_small=settings.drop_small_masks)
        if cleaned is None:
            continue
        kept.append(index)
        changed.append(touched)
        if touched:
            masks[index] = cleaned
            areas[index] = int(np.count_nonzero(cleaned.pixels()))
            boxes[index] = cleaned.box
    after = Candidates(boxes, found.predicted_iou, found.stability, areas, found.points, masks, found.crops).take(
        np.asarray(kept, np.int64)
    )
    threshold = max(settings.box_nms_thresh, settings.crop_nms_thresh)
    after = after.take(nms(after.boxes, ~np.asarray(changed, bool) * 1.0, threshold))
    # Filled holes may have pushed a mask over the limit.
    return after.take(np.flatnonzero(~_too_large(after, frame, settings)))


def _too_large(found: Candidates, frame: tuple[int, int], settings: AutomaskSettings) -> np.ndarray:
    if settings.max_mask_share >= 1:
        return np.zeros(len(found), bool)
    return found.areas >= settings.max_mask_share * frame[0] * frame[1]
