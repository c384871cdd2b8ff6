"""A pixel that rounding moved is told from one that an error moved."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from dataengine.masks import decode, encode
from schemas import MaskRecord
from tests.parity.public import segment_anything
from tests.parity.records import ROUNDING, compare, judge, photo, record_of
from tests.parity.rounding import FAR, needed_rounding, rounding_of_stability
from tests.parity.weights import pair


def test_the_logit_of_a_pixel_says_whether_rounding_moved_it() -> None:
    public = pair("nano").public
    pixels = photo("coffee.png")[:300, :400]
    generator = segment_anything().SamAutomaticMaskGenerator(
        public, points_per_side=3, pred_iou_thresh=0.0, stability_score_thresh=0.0, crop_n_layers=1,
        output_mode="coco_rle",
    )  # fmt: skip
    records = [record_of(index, annotation) for index, annotation in enumerate(generator.generate(pixels))]
    in_a_crop = next(record for record in records if record.crop_box[0] > 0 and record.area > 400)
    assert needed_rounding(public, pixels, in_a_crop, in_a_crop) == 0

    with torch.no_grad():  # where the mask's logits come nearest to the threshold, and where they are farthest from it
        x, y, width, height = map(int, in_a_crop.crop_box)
        predictor = segment_anything().SamPredictor(public)
        predictor.set_image(pixels[y : y + height, x : x + width])
        point = np.array(in_a_crop.point_coords) - (x, y)
        found, _, _ = predictor.predict(point, np.ones(1), return_logits=True)
    mask = decode(in_a_crop.segmentation)
    logits = min(found, key=lambda one: np.count_nonzero((one > 0) != mask[y : y + height, x : x + width]))
    changed_ones = []
    for place, share in ((np.abs(logits).argmin(), 0.0), (np.abs(logits).argmax(), 1.0)):
        row, column = np.unravel_index(place, logits.shape)
        changed = mask.copy()
        changed[y + row, x + column] ^= True
        ours = in_a_crop.model_copy(update={"segmentation": encode(changed[None])[0]})
        assert isinstance(ours, MaskRecord)
        measured = needed_rounding(public, pixels, ours, in_a_crop)
        assert abs(measured - share) < 10 * ROUNDING, (measured, share)
        changed_ones.append(ours)
    same = [in_a_crop, in_a_crop]
    parity = replace(compare(same, same), unlike=((0, 0), (1, 1)))
    assert judge(parity, public, pixels, changed_ones, same).rounding == measured, "of all the largest"

    # One more pixel above the higher threshold: the one that comes nearest to it.
    inner, union = np.count_nonzero(logits > 1), np.count_nonzero(logits > -1)
    assert in_a_crop.stability_score == pytest.approx(inner / union, abs=1e-7)
    ours = in_a_crop.model_copy(update={"stability_score": float(np.float32(inner + 1) / np.float32(union))})
    missing = (1 - logits[logits <= 1].max()) / np.abs(logits).max()
    assert needed_rounding(public, pixels, ours, in_a_crop) == pytest.approx(missing, abs=ROUNDING)


def test_a_stability_takes_as_many_pixels_as_it_needs() -> None:
    # Of largest logit 1, with thresholds at +.5 and -.5; 4 pixels above the one, 8 above the other.
    logits = np.array([1, 0.9, 0.8, 0.7, 0.499, 0.3, 0, -0.2, -0.502, -0.503, -0.9, -1])
    assert rounding_of_stability(logits, 0.5, 4 / 8) == 0
    assert rounding_of_stability(logits, 0.5, 5 / 8) == pytest.approx(0.001)
    assert rounding_of_stability(logits, 0.5, 4 / 9) == pytest.approx(0.002)
    assert rounding_of_stability(logits, 0.5, 5 / 10) == 0  # the same number as 4 / 8
    assert rounding_of_stability(logits, 0.5, 4 / 10) == pytest.approx(0.003)
    assert rounding_of_stability(logits, 0.5, 0.51) == float("inf"), "a ratio of no such areas"
    assert rounding_of_stability(logits, 0.5, 6 / 8) == float("inf"), "0.3 is farther from 0.5 than FAR"
    assert FAR < 0.2
