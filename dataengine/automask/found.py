"""The host's share of an image: what happens to its masks once the device is done with it."""

from __future__ import annotations

from dataclasses import dataclass

from dataengine.automask.candidates import Candidates
from dataengine.automask.filters import without_specks
from dataengine.masks import encode_boxed, xyxy_to_xywh
from schemas.config import AutomaskSettings
from schemas.records import MASKS_PER_IMAGE, MaskRecord


@dataclass(frozen=True)
class Found:
    """Masks of one image after NMS, in the release frame of (height, width); small enough to be sent elsewhere."""

    image_id: int
    candidates: Candidates
    frame: tuple[int, int]


def records_of(found: Found, settings: AutomaskSettings) -> list[MaskRecord]:
    """Specks and holes cleaned, then run lengths: what `MaskGenerator.generate` returns. No model is needed."""
    masks = found.candidates
    if settings.min_mask_region_area > 0:
        masks = without_specks(masks, found.frame, settings)
    return [
        MaskRecord(
            id=found.image_id * MASKS_PER_IMAGE + index,
            segmentation=encode_boxed(mask.pixels(), mask.x, mask.y, found.frame),
            bbox=xyxy_to_xywh(masks.boxes[index]),
            area=int(masks.areas[index]),
            predicted_iou=float(masks.predicted_iou[index]),
            stability_score=float(masks.stability[index]),
            crop_box=xyxy_to_xywh(masks.crops[index].box),
            point_coords=[masks.points[index].tolist()],
        )
        for index, mask in enumerate(masks.masks)
    ]
