"""From an image of the annotation store to its suggestions."""

from __future__ import annotations

import hashlib

import numpy as np
import torch

from dataengine.detection.objects import FoundObject, ObjectDetector, Picture
from dataengine.errors import EngineError, RejectedImageError, SourceGoneError
from dataengine.home.storage import Storage
from dataengine.media.cache import MediaCache
from dataengine.media.original import read_original
from dataengine.model.sam import Sam
from dataengine.prefill.confident import confident
from dataengine.prefill.planted import planted_mask
from dataengine.prefill.prompted import Candidate, prompted_masks
from dataengine.prefill.thresholds import Thresholds
from schemas import RLE
from schemas.annotations import Prefilled, Prompts, Suggestion, TaskImage

CONSIDERED = 4
"""How many times `thresholds.most` objects are prompted for, the best-scored: the rest can't be shown anyway."""


def prefill_image(
    storage: Storage,
    image: TaskImage,
    sam: Sam,
    model_id: str,
    encoder: str,
    detector: ObjectDetector,
    thresholds: Thresholds,
    max_megapixels: float,
) -> Prefilled:
    """Suggestions for one image whose embedding lies in the cache; the original is read only if the detector asks.

    A source that is gone or changed gives `failed`. Raises EngineError when the embedding isn't there.
    """
    data = MediaCache(storage).embedding(image.sha256, encoder)
    if data is None:
        raise EngineError(f"image {image.id} has no embedding of encoder {encoder}")
    side = sam.embedding_size
    features = np.frombuffer(data, "<f2").reshape(-1, side, side).astype(np.float32)
    picture = Picture(
        image.name,
        (image.original_height, image.original_width),
        lambda: read_original(storage, image, max_megapixels),
        lambda: features,
    )
    try:
        found = detector.find(picture)
    except (SourceGoneError, RejectedImageError) as error:
        return Prefilled(image_id=image.id, model=model_id, failed=str(error))
    frame = image.height, image.width
    likely = [one for one in found if one.score >= thresholds.score][: CONSIDERED * thresholds.most]
    shown = [_scaled(one, image) for one in likely]
    candidates = prompted_masks(sam, torch.from_numpy(features)[None].to(sam.device), frame, shown)
    kept = confident(candidates, thresholds)
    seed = int.from_bytes(hashlib.sha256(f"planted/{image.sha256}".encode()).digest()[:8], "big")
    planted = planted_mask(kept, candidates, seed)
    return Prefilled(
        image_id=image.id,
        model=model_id,
        suggestions=[_suggestion(one, one.rle, model_id) for one in kept],
        planted=_suggestion(planted[0], planted[1], model_id) if planted is not None else None,
    )


def _scaled(one: FoundObject, image: TaskImage) -> FoundObject:
    """From the original's pixels to the annotation frame's."""
    x, y = image.width / image.original_width, image.height / image.original_height
    box = None if one.box is None else (one.box[0] * x, one.box[1] * y, one.box[2] * x, one.box[3] * y)
    point = None if one.point is None else (one.point[0] * x, one.point[1] * y)
    return FoundObject(box, one.score, one.label, one.model, point)


def _suggestion(of: Candidate, rle: RLE, model_id: str) -> Suggestion:
    found = of.found
    point = [] if found.point is None else [(round(found.point[0], 2), round(found.point[1], 2), 1)]
    box = None if found.box is None else tuple(round(value, 2) for value in found.box)
    return Suggestion.model_validate(
        {
            "rle": rle,
            "score": round(found.score, 4),
            "predicted_iou": round(min(2.0, max(-1.0, of.predicted_iou)), 4),
            "stability_score": round(of.stability_score, 4),
            "prompts": Prompts.model_validate({"points": point, "box": box}),
            "model": model_id,
            "detector": found.model,
            "label": found.label[:64],
        }
    )
