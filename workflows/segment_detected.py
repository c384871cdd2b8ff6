"""`dataengine segment --detector`: masks of what a detector finds in a photo, by itself or by words."""

from __future__ import annotations

import numpy as np
import torch

from dataengine.detection.box_head import require_encoder
from dataengine.detection.objects import Picture, open_detector
from dataengine.masks import xyxy_to_xywh
from dataengine.media.encoder import embed, encoder_id
from dataengine.model.sam import Sam
from dataengine.prefill import confident, prompted_masks, thresholds_of
from dataengine.prefill.prompted import Candidate
from schemas import CheckpointCard, MaskRecord
from schemas.config import PrefillConfig


def detected(
    sam: Sam, card: CheckpointCard, pixels: np.ndarray, name: str, detector: str, text: str | None
) -> list[tuple[MaskRecord, str]]:
    """Records of uint8 RGB (H, W, 3), surest first, and what the detector says of each: its word and score.

    As stage 2 would suggest them, but also those that the model is not sure of: somebody asked for them. Words of
    `text` are separated by commas; `name` is what a file of boxes may know the photo by. Raises ConfigError for a
    detector that isn't one or takes no words.
    """
    words = [word.strip() for word in (text or "").split(",") if word.strip()]
    opened = open_detector(detector, words=words, device=str(sam.device))
    require_encoder(opened, encoder_id(sam))
    frame = pixels.shape[0], pixels.shape[1]
    side = sam.embedding_size
    features = np.frombuffer(embed(sam, pixels, frame), "<f2").reshape(-1, side, side).astype(np.float32)
    found = opened.find(Picture(name, frame, lambda: pixels, lambda: features))
    unsure = PrefillConfig(pred_iou_thresh=-1, stability_score_thresh=0)
    likely = [one for one in found if one.score >= unsure.score]
    candidates = prompted_masks(sam, torch.from_numpy(features)[None].to(sam.device), frame, likely)
    kept = confident(candidates, thresholds_of(unsure, card))
    return [(_record(one, number), f"{one.found.label} {one.found.score:.2f}") for number, one in enumerate(kept)]


def _record(one: Candidate, number: int) -> MaskRecord:
    height, width = one.rle.size
    prompt = np.array(one.found.point or one.found.box).reshape(-1, 2)
    return MaskRecord(
        id=number,
        segmentation=one.rle,
        bbox=xyxy_to_xywh(one.box),
        area=one.area,
        predicted_iou=one.predicted_iou,
        stability_score=one.stability_score,
        crop_box=[0.0, 0.0, float(width), float(height)],
        point_coords=[prompt.mean(axis=0).tolist()],
    )
