"""Records of our generator beside those of the public one, on real photos, with the same weights.

Ties: two records may swap places only where their predicted IoUs differ by less than rounding. Masks may
differ in single pixels whose logits round to different sides of a threshold: one of them is more than any limit on
IoU or stability where a mask is small, so such masks are judged by the logits of their pixels.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dataengine.automask import MaskGenerator
from dataengine.automask.presets import OFFICIAL
from dataengine.masks import rle_iou
from dataengine.model import Sam
from schemas import AutomaskSettings, MaskRecord
from schemas.records import RLE
from tests.conftest import package_file
from tests.parity.public import segment_anything
from tests.parity.rounding import needed_rounding
from tests.parity.weights import Pair

PHOTOS = {
    "astronaut.png": ("skimage", "data"),
    "chelsea.png": ("skimage", "data"),
    "coffee.png": ("skimage", "data"),
    "rocket.jpg": ("skimage", "data"),
    "china.jpg": ("sklearn", "datasets", "images"),
    "flower.jpg": ("sklearn", "datasets", "images"),
}
LAYERS = (0, 1, 2)
SHARES = (0.1, 0.4)
"""Of the candidates that pass both filters."""

GRIDS = {
    "nano": {(0.1, 0): 22, (0.1, 1): 19, (0.1, 2): 19, (0.4, 0): 13, (0.4, 1): 10, (0.4, 2): 9},
    "vit_b": {(0.1, 0): 18, (0.1, 1): 15, (0.1, 2): 13, (0.4, 0): 9, (0.4, 1): 7, (0.4, 2): 7},
}
"""`points_per_side` by (share, crop layers): enough for 50 records, few enough for a test."""

ENOUGH = 50
ROUNDING = 1e-5
ALIKE = 0.999
AS_STABLE = 1e-3
"""Masks of one prompt have a greater IoU than `ALIKE` and stabilities that differ by no more than `AS_STABLE`, or
differ by nothing but rounded pixels."""


def photo(name: str) -> np.ndarray:
    """RGB uint8 (H, W, 3)."""
    package, *folders = PHOTOS[name]
    return np.asarray(Image.open(package_file(package, *folders, name)).convert("RGB"))


@dataclass(frozen=True)
class Parity:
    """What comparing two lists of records found; differences are the largest over all partners.

    `unmatched`: records of either side without a partner of the same point and crop. `lowest_iou` is that of
    the masks that aren't identical, `unlike` the places (ours, public) of the records whose masks or stabilities
    aren't alike, `rounding` the least one of logits, as a share of a mask's largest, that would explain them all
    (None: not looked at). `tie`: the largest difference of predicted IoU between two records that swapped places.
    """

    ours: int
    public: int
    unmatched: int
    identical: int
    lowest_iou: float
    iou_difference: float
    stability_difference: float
    box_difference: float
    area_difference: float
    moved: int
    tie: float
    unlike: tuple[tuple[int, int], ...] = ()
    rounding: float | None = None

    def problems(self) -> list[str]:
        """Why these are not the same records, or prove too little; nothing where all is well."""
        unexplained = self.rounding is None or self.rounding >= ROUNDING
        limits = {
            f"{self.public} records prove too little": self.public < ENOUGH,
            f"{self.ours} records instead of {self.public}": self.ours != self.public,
            f"{self.unmatched} records without a partner": self.unmatched > 0,
            f"masks with an IoU of {self.lowest_iou:.5f}": unexplained and self.lowest_iou <= ALIKE,
            f"predicted IoU differs by {self.iou_difference:.1e}": self.iou_difference > ROUNDING,
            f"stability differs by {self.stability_difference:.1e}": unexplained
            and self.stability_difference > AS_STABLE,
            f"boxes differ by {self.box_difference} px": self.box_difference > 1,
            f"areas differ by {self.area_difference:.1e} of themselves": self.area_difference > 1e-3,
            f"{self.moved} records changed places by {self.tie:.1e} of predicted IoU": self.tie >= ROUNDING,
        }
        return [problem for problem, found in limits.items() if found]


def measure(sides: Pair, pixels: np.ndarray, layers: int, share: float, points_per_side: int) -> Parity:
    """Both sides on one photo, with thresholds that `share` of the candidates pass."""
    official = AutomaskSettings(
        **OFFICIAL, points_per_side=points_per_side, crop_layers=layers, points_downscale=2, crops_per_batch=1
    )
    settings = official.model_copy(update=thresholds(sides.ours, pixels, official, share))
    ours = MaskGenerator(sides.ours, settings).generate(pixels)
    public = segment_anything().SamAutomaticMaskGenerator(
        sides.public,
        points_per_side=settings.points_per_side,
        crop_n_layers=layers,
        crop_n_points_downscale_factor=2,
        pred_iou_thresh=settings.pred_iou_thresh,
        stability_score_thresh=settings.stability_score_thresh,
        output_mode="coco_rle",
    )
    theirs = [record_of(index, annotation) for index, annotation in enumerate(public.generate(pixels))]
    return judge(compare(ours, theirs), sides.public, pixels, ours, theirs)


def judge(parity: Parity, model: Any, pixels: np.ndarray, ours: list[MaskRecord], public: list[MaskRecord]) -> Parity:
    """The same with `rounding`, where records aren't alike; `model` is the public one."""
    needed = [needed_rounding(model, pixels, ours[mine], public[theirs]) for mine, theirs in parity.unlike]
    return replace(parity, rounding=max(needed)) if needed else parity


def compare(ours: list[MaskRecord], public: list[MaskRecord]) -> Parity:
    """Partners have the same prompt (crop and point) and, of its three masks, the most similar one.

    Of several that are as similar the one with the nearest predicted IoU: boxes one pixel wide have no area, so NMS
    keeps such masks twice.
    """
    overlap = rle_iou([record.segmentation for record in ours], [record.segmentation for record in public])
    partners: dict[int, int] = {}
    for index, record in enumerate(ours):
        same_prompt = [
            other
            for other, candidate in enumerate(public)
            if candidate.point_coords == record.point_coords and candidate.crop_box == record.crop_box
        ]
        if same_prompt:
            apart = {other: abs(record.predicted_iou - public[other].predicted_iou) for other in same_prompt}
            partners[index] = max(same_prompt, key=lambda other: (overlap[index, other], -apart[other]))
    pairs = [(ours[index], public[place], overlap[index, place]) for index, place in partners.items()]
    moved = [(index, place) for index, place in partners.items() if index != place]
    # A list that is longer has places that the other one lacks; it has failed already.
    ties = [
        abs(public[index].predicted_iou - public[place].predicted_iou) for index, place in moved if index < len(public)
    ]
    return Parity(
        ours=len(ours),
        public=len(public),
        unmatched=len(ours) + len(public) - len(partners) - len(set(partners.values())),
        identical=sum(one.segmentation == other.segmentation for one, other, _ in pairs),
        lowest_iou=min((float(iou) for one, other, iou in pairs if one.segmentation != other.segmentation), default=1),
        iou_difference=_largest(abs(one.predicted_iou - other.predicted_iou) for one, other, _ in pairs),
        stability_difference=_largest(abs(one.stability_score - other.stability_score) for one, other, _ in pairs),
        box_difference=_largest(np.abs(np.subtract(one.bbox, other.bbox)).max() for one, other, _ in pairs),
        # One pixel of a tiny mask may be more than the limit.
        area_difference=_largest(
            abs(one.area - other.area) / other.area for one, other, _ in pairs if abs(one.area - other.area) > 1
        ),
        moved=len(moved),
        tie=_largest(ties),
        unlike=tuple(pair for pair in partners.items() if not _alike(ours[pair[0]], public[pair[1]], overlap[pair])),
    )


def _alike(one: MaskRecord, other: MaskRecord, iou: float) -> bool:
    return iou > ALIKE and abs(one.stability_score - other.stability_score) <= AS_STABLE


def _largest(values: Iterable[float]) -> float:
    return float(max(values, default=0.0))


def record_of(index: int, annotation: dict[str, Any]) -> MaskRecord:
    return MaskRecord(**(annotation | {"id": index, "segmentation": RLE(**annotation["segmentation"])}))


def thresholds(sam: Sam, pixels: np.ndarray, official: AutomaskSettings, share: float) -> dict[str, float]:
    """Thresholds that `share` of all candidates pass, each halfway between two candidates' scores."""
    everything = official.model_copy(
        update={"pred_iou_thresh": 0.0, "stability_score_thresh": 0.0, "box_nms_thresh": 1.0, "crop_nms_thresh": 1.0}
    )
    found = MaskGenerator(sam, everything).generate(pixels)
    iou = np.array([record.predicted_iou for record in found])
    stability = np.array([record.stability_score for record in found])
    # Both filters are equally strict: the same quantile of either score, found by bisection.
    low, high = 0.0, 1.0
    for _ in range(30):
        middle = (low + high) / 2
        thresholds = _between(iou, middle), _between(stability, middle)
        passing = float(np.mean((iou > thresholds[0]) & (stability >= thresholds[1])))
        low, high = (middle, high) if passing > share else (low, middle)
    assert passing == pytest.approx(share, abs=0.03)
    return {"pred_iou_thresh": thresholds[0], "stability_score_thresh": thresholds[1]}


def _between(scores: np.ndarray, quantile: float) -> float:
    """In the middle of the widest gap near the quantile: no rounding may carry a score across it."""
    ordered = np.sort(scores)
    at = int(np.clip(quantile * len(ordered), 3, len(ordered) - 4))
    near = ordered[at - 3 : at + 4]
    widest = int(np.argmax(np.diff(near)))
    return float((near[widest] + near[widest + 1]) / 2)
