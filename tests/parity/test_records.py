"""The generator's records are those of the public code, one by one, on real photos.

Both sides have `nano` with its IoU head turned around: it prefers what the trained head doubts. The trained
one is sure of the same few big masks at every point, of which NMS leaves a handful; the doubtful masks are
small, many and different, so the filters and both passes of NMS have something to decide.

Ties: two records may swap places only where their predicted IoUs differ by less than rounding (1e-5). Masks
may differ in single pixels whose logits round to different sides of the threshold.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dataengine.automask import MaskGenerator
from dataengine.automask.presets import OFFICIAL
from dataengine.masks import rle_iou
from dataengine.model import Sam, load_model
from schemas import AutomaskSettings, MaskRecord
from schemas.records import RLE
from tests.conftest import package_file
from tests.parity.public import public_sam, segment_anything

PHOTOS = {
    "astronaut.png": ("skimage", "data"),
    "chelsea.png": ("skimage", "data"),
    "coffee.png": ("skimage", "data"),
    "rocket.jpg": ("skimage", "data"),
    "china.jpg": ("sklearn", "datasets", "images"),
    "flower.jpg": ("sklearn", "datasets", "images"),
}
GRIDS = {(0.1, 0): 20, (0.1, 1): 17, (0.1, 2): 15, (0.4, 0): 12, (0.4, 1): 9, (0.4, 2): 8}
"""`points_per_side` by (share that passes, crop layers): enough for 50 records, few enough for a test."""

ROUNDING = 1e-5


def _cases() -> list[Any]:
    """Every photo with 0, 1 and 2 crop layers; each photo and each number of layers gets both shares."""
    cases = []
    for index, name in enumerate(PHOTOS):
        for layers in (0, 1, 2):
            share = 0.1 if index % 3 == layers else 0.4
            marks = [] if (share, layers) == (0.4, 0) else [pytest.mark.slow]
            cases.append(pytest.param(name, layers, share, marks=marks, id=f"{name}-{layers}-{share:.0%}"))
    return cases


@pytest.fixture(scope="module")
def nano() -> Sam:
    sam, _ = load_model("nano")
    sam = copy.deepcopy(sam)
    sam.resample = "bilinear"  # the public code's only way
    last = sam.mask_decoder.iou_prediction_head.layers[-1]
    with torch.no_grad():
        last.weight.neg_()
        # Well above 0: the public code takes a threshold of 0 or less for "no filter".
        last.bias.neg_().add_(2)
    return sam


@pytest.mark.parametrize(("name", "layers", "share"), _cases())
def test_records_are_the_public_ones(nano: Sam, name: str, layers: int, share: float) -> None:
    package, *folders = PHOTOS[name]
    pixels = np.asarray(Image.open(package_file(package, *folders, name)).convert("RGB"))
    official = AutomaskSettings(
        **OFFICIAL, points_per_side=GRIDS[share, layers], crop_layers=layers, points_downscale=2, crops_per_batch=1
    )
    settings = official.model_copy(update=_thresholds(nano, pixels, official, share))
    ours = MaskGenerator(nano, settings).generate(pixels)
    public = segment_anything().SamAutomaticMaskGenerator(
        public_sam(nano, nano.image_encoder),
        points_per_side=settings.points_per_side,
        crop_n_layers=layers,
        crop_n_points_downscale_factor=2,
        pred_iou_thresh=settings.pred_iou_thresh,
        stability_score_thresh=settings.stability_score_thresh,
        output_mode="coco_rle",
    )
    theirs = [_record(index, annotation) for index, annotation in enumerate(public.generate(pixels))]
    assert len(theirs) >= 50, f"{len(theirs)} records prove too little"
    _assert_same(ours, theirs)


def _thresholds(sam: Sam, pixels: np.ndarray, official: AutomaskSettings, share: float) -> dict[str, float]:
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


def _record(index: int, annotation: dict[str, Any]) -> MaskRecord:
    return MaskRecord(**(annotation | {"id": index, "segmentation": RLE(**annotation["segmentation"])}))


def _assert_same(ours: list[MaskRecord], theirs: list[MaskRecord]) -> None:
    assert len(ours) == len(theirs)
    overlap = rle_iou([record.segmentation for record in ours], [record.segmentation for record in theirs])
    places: list[int] = []
    for index, record in enumerate(ours):
        same_prompt = [
            other
            for other, candidate in enumerate(theirs)
            if candidate.point_coords == record.point_coords and candidate.crop_box == record.crop_box
        ]
        assert same_prompt, f"record {index}: no public record has its point and crop"
        place = max(same_prompt, key=lambda other: overlap[index, other])
        partner = theirs[place]
        assert record.segmentation == partner.segmentation or overlap[index, place] > 0.999
        assert record.predicted_iou == pytest.approx(partner.predicted_iou, abs=ROUNDING)
        assert record.stability_score == pytest.approx(partner.stability_score, abs=1e-3)
        assert record.bbox == pytest.approx(partner.bbox, abs=1)
        assert abs(record.area - partner.area) <= max(1, 1e-3 * partner.area)
        places.append(place)
    assert sorted(places) == list(range(len(theirs))), "two records share a partner"
    for index, place in enumerate(places):
        if place != index:
            tied = abs(theirs[index].predicted_iou - theirs[place].predicted_iou)
            assert tied < ROUNDING, f"record {index} is the public record {place}"
