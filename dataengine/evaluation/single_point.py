"""Single-point segmentation, then clicks until it is good enough (paper 7.1 and D.1; RITM's protocol)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from dataengine.errors import RejectedImageError
from dataengine.evaluation.clicking import Clicking
from dataengine.labelled import LabelledImage, LabelledMask, LabelledSource
from dataengine.masks.rle import decode, rle_area
from dataengine.model.sam import Sam
from schemas.evaluation import SinglePointRecord

MAX_CLICKS = 20
"""The field's NoC convention: clicks are counted up to 20, and a mask that never gets there counts as 20."""

TARGETS = (0.85, 0.90)

SIZES = {"small": 0.0, "medium": 32**2 / (640 * 480), "large": 96**2 / (640 * 480)}
"""From which share of the image on: COCO's limits, given in pixels, at the size that most of its images have."""

MEMORY_BYTES = 256 << 20
"""For full-size logits of one batch of prompts; bounds how many are decoded together on large images."""

PROMPTS_AT_ONCE = 64


@dataclass(frozen=True)
class MaskResult:
    """One mask. `(image, mask_id)` names it, so results of two models pair up.

    `iou_top1` and `iou_best` are after one click at the mask's centre: of the mask the model trusts
    most, and of the best of its three. `clicks` is the number of clicks to each of `TARGETS`, at most
    `MAX_CLICKS`; `reached` says whether it got there. `share` is the area's of the image.
    """

    image: str
    mask_id: int
    area: int
    share: float
    iou_top1: float
    iou_best: float
    predicted_iou: float
    clicks: tuple[int, int]
    reached: tuple[bool, bool]

    @property
    def size(self) -> str:
        """One of `SIZES`."""
        return [name for name, least in SIZES.items() if self.share >= least][-1]


@dataclass
class SinglePointResult:
    """All masks' results in the order of the source, and what was left out, by reason."""

    masks: list[MaskResult] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)

    def summary(self) -> SinglePointRecord:
        """Means over masks (not over images). Raises ValueError when there is none."""
        if not self.masks:
            raise ValueError("no mask was measured")
        return SinglePointRecord(
            images=len({mask.image for mask in self.masks}),
            masks=len(self.masks),
            miou_top1=float(np.mean([mask.iou_top1 for mask in self.masks])),
            miou_best=float(np.mean([mask.iou_best for mask in self.masks])),
            clicks_85=float(np.mean([mask.clicks[0] for mask in self.masks])),
            clicks_90=float(np.mean([mask.clicks[1] for mask in self.masks])),
        )

    def by_size(self) -> dict[str, SinglePointRecord]:
        """The summary of each of `SIZES` that has a mask."""
        parts = {name: [mask for mask in self.masks if mask.size == name] for name in SIZES}
        return {name: SinglePointResult(masks).summary() for name, masks in parts.items() if masks}


def evaluate_single_point(
    sam: Sam,
    source: LabelledSource,
    names: Sequence[str] | None = None,
    *,
    max_clicks: int = MAX_CLICKS,
    report: Callable[[int], None] = lambda done: None,
) -> SinglePointResult:
    """Measure `sam` on the named images of a source (all when left out), every mask of each.

    The first click is the mask's distance-transform centre and gets three masks; the further ones are
    centres of the largest error and get one, with the previous logits fed back, as in training. The
    error is that of the mask the model trusts most; all IoUs are computed at the image's own
    resolution. `max_clicks` = 1 measures the single point only. Each image is encoded once; an image
    that can't be read is counted in `skipped`. `report` is told the number of images that are done.
    """
    result = SinglePointResult(skipped=Counter(source.skipped))
    chosen = source.names if names is None else names
    for done, name in enumerate(chosen, start=1):
        try:
            image = source.read(name)
        except RejectedImageError as error:
            result.skipped[str(error)] += 1
        else:
            result.masks.extend(_measure(sam, image, max_clicks))
        report(done)
    return result


@torch.inference_mode()
def _measure(sam: Sam, image: LabelledImage, max_clicks: int) -> Iterator[MaskResult]:
    embedding = sam.encode_images([image.pixels])
    height, width = image.pixels.shape[:2]
    # Three float masks of full size a prompt, and the square they were cut from.
    per_prompt = 3 * 4 * (height * width + sam.image_size**2)
    batch = max(1, min(PROMPTS_AT_ONCE, MEMORY_BYTES // per_prompt))
    for start in range(0, len(image.masks), batch):
        yield from _measure_batch(sam, image, image.masks[start : start + batch], embedding, max_clicks)


def _measure_batch(
    sam: Sam, image: LabelledImage, masks: list[LabelledMask], embedding: torch.Tensor, max_clicks: int
) -> Iterator[MaskResult]:
    truth = np.stack([decode(mask.rle) for mask in masks])
    clicking = Clicking(sam, embedding, truth)
    best, predicted = clicking.first()
    top1 = clicking.iou.copy()
    clicks = np.full((len(masks), len(TARGETS)), max_clicks)
    reached = np.zeros((len(masks), len(TARGETS)), bool)
    for count in range(1, max_clicks + 1):
        if count > 1:
            clicking.correct(np.flatnonzero(~reached.all(axis=1)))
        now = (clicking.iou[:, None] >= TARGETS) & ~reached
        clicks[now] = count
        reached |= now
        if reached.all():
            break
    for index, mask in enumerate(masks):
        area = rle_area(mask.rle)
        yield MaskResult(
            image=image.name,
            mask_id=mask.id,
            area=area,
            share=area / truth[index].size,
            iou_top1=float(top1[index]),
            iou_best=float(best[index]),
            predicted_iou=float(predicted[index]),
            clicks=(int(clicks[index, 0]), int(clicks[index, 1])),
            reached=(bool(reached[index, 0]), bool(reached[index, 1])),
        )
