"""A person's mask in SA-1B's fields, and its provenance beside them.

SA-1B's JSON keeps its fields and their types. For masks of people they mean:

- `predicted_iou`: the model's own estimate of the suggestion that the person took and perhaps corrected; 1.0 of
  a mask that no model suggested.
- `stability_score`: 1.0. It measures how a mask moves with the model's threshold; a person's doesn't.
- `crop_box`: the whole image.
- `point_coords`: the first click on the object; without one the middle of the box that was drawn; without a
  box the mask's innermost pixel.
- `bbox` (max - min) and `area` follow from the mask, as everywhere.
"""

from __future__ import annotations

from typing import Any

from dataengine.masks import box_of_mask, decode, xyxy_to_xywh
from dataengine.masks.iou import rle_iou
from dataengine.prompts.centres import centre_point
from schemas import MaskRecord
from schemas.annotations import AnnotatedMask
from schemas.records import MASKS_PER_IMAGE
from schemas.snapshots import AcceptedImage


def ordered_masks(accepted: AcceptedImage) -> list[AnnotatedMask]:
    """The masks that go into the sample, in the order of prominence; empty ones don't."""
    kept = [mask for mask in accepted.masks if mask.area > 0]
    return sorted(kept, key=lambda mask: (mask.prominence, mask.id))


def mask_records(accepted: AcceptedImage) -> list[MaskRecord]:
    """The image's annotations as a shard holds them, in the release frame."""
    width, height = accepted.image.width, accepted.image.height
    return [
        MaskRecord(
            id=accepted.image.id * MASKS_PER_IMAGE + index,
            segmentation=mask.rle,
            bbox=_bbox(mask),
            area=mask.area,
            predicted_iou=1.0 if mask.predicted_iou is None else mask.predicted_iou,
            stability_score=1.0,
            crop_box=[0.0, 0.0, float(width), float(height)],
            point_coords=[_point(mask, width, height)],
        )
        for index, mask in enumerate(ordered_masks(accepted))
    ]


def provenance_columns(accepted: AcceptedImage) -> dict[str, list[Any]]:
    """The same masks as columns of `PROVENANCE_SCHEMA`."""
    rows = [_provenance(accepted, index, mask) for index, mask in enumerate(ordered_masks(accepted))]
    names = rows[0].keys() if rows else ()
    return {name: [row[name] for row in rows] for name in names}


def pseudonym(user: int | None) -> str | None:
    """How people are called outside of the annotation database."""
    return None if user is None else f"annotator-{user:04d}"


def _provenance(accepted: AcceptedImage, index: int, mask: AnnotatedMask) -> dict[str, Any]:
    prompts = mask.prompts
    return {
        "id": accepted.image.id * MASKS_PER_IMAGE + index,
        "image_id": accepted.image.id,
        "mask": mask.id,
        "revision": mask.revision,
        "stage": accepted.stage,
        "task": accepted.task,
        "annotator": pseudonym(mask.author),
        "reviewer": pseudonym(accepted.reviewer),
        "source": mask.source,
        "model": mask.model,
        "points": [list(point) for point in prompts.points] if prompts else [],
        "box": list(prompts.box) if prompts and prompts.box else None,
        "clicks": prompts.clicks if prompts else 0,
        "active_ms": mask.active_ms,
        "predicted_iou": mask.predicted_iou,
        "score": mask.score,
        "suggestion": mask.suggestion.counts if mask.suggestion else None,
        "edit_iou": float(rle_iou([mask.suggestion], [mask.rle])[0, 0]) if mask.suggestion else None,
        "prominence": mask.prominence,
        "group": mask.group,
        "exhaustive": accepted.exhaustive,
    }


def _bbox(mask: AnnotatedMask) -> list[float]:
    box = box_of_mask(decode(mask.rle))
    assert box is not None
    return xyxy_to_xywh(box)


def _point(mask: AnnotatedMask, width: int, height: int) -> list[float]:
    prompts = mask.prompts
    if prompts is not None:
        clicks = [(x, y) for x, y, label in prompts.points if label == 1]
        if not clicks and prompts.box is not None:
            x0, y0, x1, y1 = prompts.box
            clicks = [((x0 + x1) / 2, (y0 + y1) / 2)]
        inside = [point for point in clicks if 0 <= point[0] < width and 0 <= point[1] < height]
        if inside:
            return [float(inside[0][0]), float(inside[0][1])]
    x, y = centre_point(decode(mask.rle))
    return [float(x), float(y)]
