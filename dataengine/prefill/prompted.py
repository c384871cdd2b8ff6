"""Boxes and points of a detector, decoded on the image's embedding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from dataengine.detection.objects import FoundObject
from dataengine.masks import box_of_mask, encode_boxed
from dataengine.model.sam import Sam
from schemas import RLE

PROMPTS_PER_BATCH = 16
STABILITY_OFFSET = 1.0
"""In logits, as in the public code's automatic masks."""


@dataclass(frozen=True)
class Candidate:
    """The mask of one found object, in the annotation frame; `box` XYXY of its pixels, inclusive."""

    found: FoundObject
    rle: RLE
    box: tuple[int, int, int, int]
    area: int
    predicted_iou: float
    stability_score: float


@torch.inference_mode()
def prompted_masks(
    sam: Sam, embedding: torch.Tensor, frame: tuple[int, int], found: Sequence[FoundObject]
) -> list[Candidate]:
    """One mask for each object that gets any pixel, in their order.

    `embedding` (1, 256, e, e) on the model's device; `frame` (height, width), in whose pixels the objects are. Of
    the model's four answers the one with the highest predicted IoU is taken.
    """
    image = sam.mask_decoder.image_side(embedding, sam.prompt_encoder.dense_positions(), sam.prompt_encoder()[1])
    made: dict[int, Candidate] = {}
    for places in (_where(found, boxes=True), _where(found, boxes=False)):
        for start in range(0, len(places), PROMPTS_PER_BATCH):
            chunk = places[start : start + PROMPTS_PER_BATCH]
            decoded = sam.mask_decoder.decode_tokens(image, _tokens(sam, [found[i] for i in chunk], frame))
            best = decoded.predicted_iou.argmax(dim=1)
            chosen = torch.nn.functional.one_hot(best, decoded.predicted_iou.shape[1]).bool()
            low = sam.mask_decoder.chosen_logits(decoded, chosen)
            for row, place in enumerate(chunk):
                logits = sam.upsample(low[row][None, None], sam.input_size(*frame), frame)[0, 0]
                candidate = _candidate(sam, logits, found[place], float(decoded.predicted_iou[row, best[row]]))
                if candidate is not None:
                    made[place] = candidate
    return [made[place] for place in sorted(made)]


def _where(found: Sequence[FoundObject], *, boxes: bool) -> list[int]:
    return [place for place, one in enumerate(found) if (one.box is not None) is boxes]


def _tokens(sam: Sam, found: Sequence[FoundObject], frame: tuple[int, int]) -> torch.Tensor:
    height, width = sam.input_size(*frame)
    scale = torch.tensor([width / frame[1], height / frame[0]], device=sam.device)
    if found[0].box is not None:
        corners = torch.tensor([one.box for one in found], device=sam.device).reshape(-1, 2, 2) * scale
        return sam.prompt_encoder(boxes=corners.reshape(-1, 4))[0]
    points = torch.tensor([one.point for one in found], device=sam.device).reshape(-1, 1, 2) * scale
    return sam.prompt_encoder(points, torch.ones(len(found), 1, device=sam.device))[0]


def _candidate(sam: Sam, logits: torch.Tensor, found: FoundObject, predicted_iou: float) -> Candidate | None:
    inner = int((logits > sam.mask_threshold + STABILITY_OFFSET).sum())
    union = int((logits > sam.mask_threshold - STABILITY_OFFSET).sum())
    pixels = (logits > sam.mask_threshold).cpu().numpy()
    box = box_of_mask(pixels)
    if box is None:
        return None
    x0, y0, x1, y1 = box
    inside = pixels[y0 : y1 + 1, x0 : x1 + 1]
    return Candidate(
        found=found,
        rle=encode_boxed(inside, x0, y0, pixels.shape),
        box=box,
        area=int(np.count_nonzero(inside)),
        predicted_iou=predicted_iou,
        stability_score=inner / union,
    )
